"""The report is one page that needs nothing else and holds what was measured."""

import io
import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from omni_core.evaluation import report
from omni_core.evaluation.results import Bars, Clip, Evaluation, Figure, Heatmap, Histogram, Sample, Suite, Table
from omni_core.evaluation.targets import Unit

WAVE = np.sin(np.arange(24_000) / 20, dtype=np.float32) * 0.2


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def evaluation():
    sample = Sample("sums, annie", "1 < 2?", "Yes.", "<b>No.</b>", right=False, clips=(Clip("question", WAVE, 24_000),), image=_picture())
    qa = Suite(
        "qa",
        "Questions",
        "What was asked.",
        (Figure("qa.talk.espeak.clean", 0.9832, 332), Figure("qa.sums.espeak.clean", 0.5, 150)),
        (Table("Right answers", ("skill", "right"), (("talk", 0.9832), ("sums", None)), (None, Unit.SHARE)),),
        (
            Bars("By skill", ("clean", "10 dB"), (("talk", (0.9832, None)),)),
            Histogram("Delay", (10.0, 130.0, 140.0), 50, Unit.MS, (("median", 130.0),)),
            Heatmap("Mistaken", "answered", "expected", ("five", "nine"), ((0, 3), (0, 0))),
        ),
        (sample,),
    )
    return Evaluation("nano", "a machine, 2 cores", "2025-01-01", "omni eval qa --seed 7", 7, 12.0, (qa,), {"asr": "no <test> material"})


def test_it_loads_nothing_from_elsewhere(evaluation, tmp_path):
    page = report.write_report(evaluation, tmp_path / "report").read_text(encoding="utf-8")
    assert list((tmp_path / "report").iterdir()) == [tmp_path / "report" / "index.html"]
    assert "http" not in page
    assert "<script" not in page
    assert all(target.startswith(("data:", "#")) for target in re.findall(r"(?:src|href)=\"?([^\" >]+)", page))
    assert not re.search(r"url\(|@import", page)


def test_it_holds_the_figures_and_how_they_were_made(evaluation):
    page = report.render(evaluation)
    for shown in ("98.3 %", "aim met", "short", "not measured", "omni eval qa --seed 7", "seed 7", "2025-01-01", "a machine, 2 cores", "130 ms"):
        assert shown in page, shown
    assert "&lt;b&gt;No.&lt;/b&gt;" in page
    assert "no &lt;test&gt; material" in page


def test_samples_beyond_the_size_of_a_page_are_left_out(evaluation, monkeypatch):
    assert "data:audio/mpeg" in report.render(evaluation)
    assert "data:image/png" in report.render(evaluation)
    monkeypatch.setattr(report, "MEDIA_BYTES", 100)
    assert "data:audio" not in report.render(evaluation)


def test_sounds_can_be_played():
    wave, rate = soundfile.read(io.BytesIO(report.encode_clip(WAVE, 24_000)))
    assert rate == 24_000
    assert len(wave) >= len(WAVE)


def test_json_has_stable_keys(evaluation):
    data = evaluation.to_json()
    assert data["suites"]["qa"]["figures"]["qa.talk.espeak.clean"] == {
        "value": 0.9832, "count": 332, "of": "questions", "unit": "%", "least": 0.92, "aim": 0.97, "verdict": "met",
    }  # fmt: skip
    assert data["suites"]["qa"]["tables"]["Right answers"][0] == {"skill": "talk", "right": 0.9832}
    assert data["not_run"] == {"asr": "no <test> material"}
