import io
import json

import numpy as np
import pytest
import soundfile

from omni_core.datagen import readers
from omni_core.datagen.readers import JsonLines, Reading, VoiceAssistant, snac_frames
from omni_core.errors import DataError

SNAC = "# 1 2 3 4 5 6 7 # 4095 0 10 20 30 40 50"


def tone(rate, seconds=0.5):
    return (0.1 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def flac(rate):
    file = io.BytesIO()
    soundfile.write(file, tone(rate), rate, format="FLAC")
    return file.getvalue()


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "q.flac").write_bytes(flac(8000))
    (tmp_path / "a.flac").write_bytes(flac(44_100))
    (tmp_path / "p.png").write_bytes(b"picture")
    (tmp_path / "empty.flac").write_bytes(b"")

    def write(*rows):
        path = tmp_path / "mine.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write


def test_a_manifest_brings_waves_at_the_rates_of_training(manifest):
    path = manifest(
        {"audio": "q.flac", "image": "p.png", "question": "What is it?", "answer": "A cat.", "answer_audio": "a.flac"},
        "",
        {"question": "Who are you?", "answer": "Omni."},
    )
    heard, read = JsonLines(path)
    assert (heard.question, heard.answer, heard.image) == ("What is it?", "A cat.", b"picture")
    assert heard.question_wave is not None
    assert heard.answer_wave is not None
    assert (len(heard.question_wave), len(heard.answer_wave)) == (8000, 12_000)
    assert (read.where, read.question_wave, read.image, read.answer_wave) == (f"{path}:3", None, None, None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"audio": "none.flac", "answer": "Yes."}, "no such sound file"),
        ({"audio": "empty.flac", "answer": "Yes."}, "the file is empty"),
        ({"audio": "p.png", "answer": "Yes."}, "not a readable sound file"),
        ({"audio": "q.flac", "image": "none.png", "answer": "Yes."}, "none.png"),
        ({"audio": "q.flac"}, "needs `audio` or `question`, and `answer` or `answer_audio`"),
        ({"answer": "Yes."}, "needs `audio` or `question`"),
        ({"question": "A?", "answer": "Yes.", "voice": "me"}, "unknown key voice"),
        ({"question": "A?", "answer": 3}, "JSON object of strings"),
        ("{", "Expecting"),
        ("[]", "JSON object"),
    ],
)
def test_a_bad_line_is_named_or_skipped_and_counted(manifest, row, message):
    path = manifest({"question": "Good?", "answer": "Yes."}, row, {"question": "Good too?", "answer": "Yes."})
    with pytest.raises(DataError, match=rf"mine\.jsonl:2: .*{message}"):
        list(JsonLines(path))
    reading = Reading()
    assert [recording.question for recording in JsonLines(path).read(0, reading)] == ["Good?", "Good too?"]
    assert reading.skipped == 1
    assert "mine.jsonl:2" in reading.reasons[0]


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl"):
        list(JsonLines(tmp_path / "none.jsonl"))


def test_snac_frames_are_seven_codes_after_each_hash():
    np.testing.assert_array_equal(snac_frames(SNAC), [[1, 2, 3, 4, 5, 6, 7], [4095, 0, 10, 20, 30, 40, 50]])
    np.testing.assert_array_equal(snac_frames(SNAC + " #\n"), snac_frames(SNAC))


@pytest.mark.parametrize(
    ("text", "frame"), [("", 0), ("# 1 2 3 4 5 6", 0), (f"{SNAC} # 1 2 3 4 5 6 4096", 2), ("# 1 2 3 4 5 6 7 # 1 2 3 x 5 6 7", 1), (f"{SNAC} ## 1", 2)]
)
def test_what_is_no_frame_is_named(text, frame):
    with pytest.raises(ValueError, match=f"answer_snac, frame {frame}"):
        snac_frames(text)


def row(**changes):
    return {
        "split_name": "qa_assistant", "index": 7, "round": 0, "question": "What is it?",
        "question_audio": {"bytes": flac(22_050), "path": "7.wav"}, "answer": "A cat.", "answer_snac": SNAC,
    } | changes  # fmt: skip


def test_a_published_row_becomes_a_recording():
    recording = readers._voice_assistant_row("here", row())
    assert recording.question_wave is not None
    assert recording.answer_frames is not None
    assert (len(recording.question_wave), recording.answer_frames.shape) == (8000, (2, 7))
    assert (recording.question, recording.answer, recording.answer_wave) == ("What is it?", "A cat.", None)
    assert readers._voice_assistant_row("here", row(answer_snac=None)).answer_frames is None


BAD_ROWS = [
    ({"question_audio": None}, "question_audio has no bytes"),
    ({"question_audio": {"bytes": b"noise", "path": ""}}, "no readable sound file"),
    ({"answer": ""}, "has no answer"),
    ({"answer_snac": "1 2"}, "answer_snac, frame 0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_ROWS)
def test_a_bad_row_is_told(changes, message):
    with pytest.raises(ValueError, match=message):
        readers._voice_assistant_row("here", row(**changes))


def test_parquet_files_in_the_published_schema_are_read(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "train-00000-of-00001.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([row(), row(answer=""), row(question="And this?")]), path)
    with pytest.raises(DataError, match=r"parquet, row 1: has no answer"):
        list(VoiceAssistant(path))
    reading = Reading()
    first, second = VoiceAssistant(path).read(0, reading)
    assert (first.question, second.question, reading.skipped) == ("What is it?", "And this?", 1)
    np.testing.assert_array_equal(first.answer_frames, snac_frames(SNAC))

    parquet.write_table(pyarrow.Table.from_pylist([{"question": "What is it?"}]), path)
    with pytest.raises(DataError, match="has no column question_audio, answer, answer_snac"):
        list(VoiceAssistant(path))
    path.write_bytes(b"not parquet")
    with pytest.raises(DataError, match="can't be read as Parquet"):
        list(VoiceAssistant(path))
