"""How well a model hears, answers and speaks: metrics and suites."""
