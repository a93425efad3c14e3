"""Soft constraints on spectra, and the language that they are written in.

In: the text of a rule, as a configuration holds it. Out: `Rule`, with a differentiable penalty for training and a
report of who breaks it.
Read in this order: grammar (text to nodes), expression (what nodes compute), constraints (rules, their weights, sets).
"""

from .constraints import Rule, RuleError, RuleSet, from_config, parse, slack, text_of

__all__ = ["Rule", "RuleError", "RuleSet", "from_config", "parse", "slack", "text_of"]
