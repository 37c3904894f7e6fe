"""What nano can do, one class a skill. Each reads a short template file beside it, which a person can extend, and knows what of it is held out."""

from __future__ import annotations

from omni_core.datagen.exchange import Skill
from omni_core.datagen.skills.memory import MemorySkill
from omni_core.datagen.skills.pictures import PictureSkill
from omni_core.datagen.skills.repeat import RepeatSkill
from omni_core.datagen.skills.sums import SumsSkill
from omni_core.datagen.skills.talk import TalkSkill
from omni_core.datagen.skills.unclear import UnclearSkill

_ALL: tuple[Skill, ...] = (TalkSkill(), SumsSkill(), RepeatSkill(), MemorySkill(), PictureSkill(), UnclearSkill())

#: By name, in the order of tables and reports.
SKILLS: dict[str, Skill] = {skill.name: skill for skill in _ALL}
