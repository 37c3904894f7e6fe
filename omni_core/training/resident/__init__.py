"""Data that lives on the device: clips in its memory, rooms, noises and interruption scenes made there, anew for every step.

What `datagen` does to one clip with numpy is done here to whole batches with torch, by the same recipes. A GPU then waits for nothing.
"""
