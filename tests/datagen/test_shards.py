import errno
import json
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from omni_core.datagen.shards import Clip, ShardSet, ShardWriter, split_jobs, write_all
from omni_core.datagen.synthesis import SynthesisError
from omni_core.errors import DataError

JOBS = [3, 1, 4, 5, 9]


def make(job):
    return Clip(np.full(1600 * job, job / 16, np.float32), {"text": f"said {job}"})


def writer(folder, jobs=JOBS, made=make, **options):
    return ShardWriter(folder, "numbers", 16_000, split_jobs(jobs, 2), made, **options)


@pytest.fixture
def folder(tmp_path):
    write_all([writer(tmp_path)])
    return tmp_path


def test_clips_come_back_in_order(folder):
    clips = ShardSet(folder, "numbers")
    assert clips.rate == 16_000
    assert clips.rows == [{"text": f"said {job}", "samples": 1600 * job} for job in JOBS]
    for index, job in enumerate(JOBS):
        np.testing.assert_allclose(clips.wave(index), make(job).wave, atol=1 / 32768)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clips)).wave(2), clips.wave(2))


def test_a_shard_is_a_tar_of_flac_and_json_under_one_key(folder):
    with tarfile.open(folder / "numbers-00000.tar") as tar:
        assert tar.getnames() == ["000000.flac", "000000.json", "000001.flac", "000001.json"]
        file = tar.extractfile("000001.json")
        assert file is not None
        assert json.load(file) == {"text": "said 1", "samples": 1600}


def test_a_set_that_is_not_there_is_empty_and_grows_while_it_is_read(tmp_path):
    clips, shards = ShardSet(tmp_path, "numbers"), writer(tmp_path)
    assert len(clips) == 0
    with ThreadPoolExecutor(2) as pool, shards.bar() as bar:
        for number, count in enumerate((2, 4, 5)):
            shards.write(number, pool, bar)
            assert clips.refresh() == count


def test_the_bytes_do_not_depend_on_the_workers(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("one")
    write_all([writer(other)], workers=1)
    for path in folder.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_only_what_changed_is_made_again(folder):
    made = []

    def watched(job):
        made.append(job)
        return make(job)

    write_all([writer(folder, made=watched)])
    assert made == []
    write_all([writer(folder, [3, 1, 4, 6, 9, 2, 7], watched)], workers=1)
    assert made == [4, 6, 9, 2, 7]
    assert len(ShardSet(folder, "numbers")) == 7


def break_tail(path):
    path.write_bytes(path.read_bytes()[:-512])


def break_clip(path):
    data = bytearray(path.read_bytes())
    data[600] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message", "left"),
    [
        (break_tail, "numbers-00001.tar: holds", 3),
        (lambda path: path.unlink(), "numbers-00001.tar", 3),
        (lambda path: path.with_suffix(".jsonl").write_text("{}\n{}\n"), "numbers-00001.tar", 3),
        (break_clip, "numbers-00001.tar: member 000000.flac is damaged", 4),
    ],
)
def test_damage_is_named_or_skipped_and_counted(folder, damage, message, left):
    damage(folder / "numbers-00001.tar")
    with pytest.raises(DataError, match=message):
        ShardSet(folder, "numbers").wave(2)
    clips = ShardSet(folder, "numbers", skip_bad=True)
    assert (len(clips), clips.skipped) == (left, 5 - left)
    assert clips.rows[-1]["text"] == "said 9"


def test_a_manifest_of_something_else_is_refused(folder):
    (folder / "numbers.json").write_text('{"format": "another"}')
    with pytest.raises(DataError, match=r"numbers\.json"):
        ShardSet(folder, "numbers")


def test_an_empty_clip_is_named_or_left_out(tmp_path):
    with pytest.raises(DataError, match="numbers: 0 gave an empty clip"):
        write_all([writer(tmp_path, [1, 0])])
    assert write_all([writer(tmp_path, [1, 0], skip_bad=True)]) == 1
    index = tmp_path / "numbers-00000.jsonl"
    index.write_text(index.read_text().replace('"samples": 1600', '"samples": 0'))
    with pytest.raises(DataError, match=r"member 000000\.flac is an empty clip"):
        ShardSet(tmp_path, "numbers")


def test_what_cannot_be_spoken_stops_or_is_left_out(tmp_path):
    def silent(job):
        if job == 4:
            raise SynthesisError("no sound")
        return make(job)

    with pytest.raises(SynthesisError):
        write_all([writer(tmp_path, made=silent)])
    assert len(ShardSet(tmp_path, "numbers")) == 2, "what was complete is kept"
    assert not list(tmp_path.glob("*.part"))
    assert write_all([writer(tmp_path, made=silent, skip_bad=True)]) == 1
    assert [row["text"] for row in ShardSet(tmp_path, "numbers").rows] == ["said 3", "said 1", "said 5", "said 9"]


def test_a_full_disk_is_told_and_leaves_nothing_half(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "addfile", full)
        with pytest.raises(DataError, match=r"No space left on device.*make room"):
            write_all([writer(tmp_path)])
    assert list(tmp_path.iterdir()) == []
