// The npm client between two pipes: each line of standard input is an event to send, each event received is a line of standard output.
import { createInterface } from 'node:readline';
import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';

const [baseURL, apiKey] = process.argv.slice(2);
const realtime = new OpenAIRealtimeWS({ model: 'gpt-realtime' }, new OpenAI({ baseURL, apiKey }));

realtime.on('event', (event) => process.stdout.write(JSON.stringify(event) + '\n'));
realtime.on('error', (error) => {
  if (!error.error) throw error; // the socket's trouble; an error that the server tells is an event like any other
});
realtime.socket.on('close', () => process.exit(0));

createInterface({ input: process.stdin })
  .on('line', (line) => realtime.send(JSON.parse(line)))
  .on('close', () => realtime.close());
