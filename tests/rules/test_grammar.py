"""The rules language: what it refuses, and where the error points."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spectra import WL

from kitlib.base.instruments import N_BINS
from kitlib.rules import grammar
from kitlib.rules.constraints import RuleError, parse

PLANETS = 3
MU = SIGMA = torch.linspace(0.01, 0.02, PLANETS * N_BINS, dtype=torch.float64).reshape(PLANETS, N_BINS)

REFUSED = [
    ("__import__('os').system('true') > mu", 1, "cannot be called"),
    ("mu > __import__('os')", 6, "'__import__' cannot be called"),
    ("mu > eval('1')", 6, "'eval' cannot be called"),
    ("mu > mu.mean()", 6, "attribute access cannot be called"),
    ("mu.data > 0", 1, "attribute access"),
    ("mu > ().__class__", 6, "attribute access"),
    ("mu > foo", 6, "unknown name 'foo'"),
    ("mu > __builtins__", 6, "unknown name"),
    ("mu > mean", 6, "unknown name 'mean'"),
    ("mu > foo(1)", 6, "'foo' cannot be called"),
    ("mu > (lambda: 1)()", 6, "cannot be called"),
    ("mu > (lambda: 1)", 7, "Lambda"),
    ("mu > [x for x in mu]", 6, "ListComp"),
    ("mu > sum(x for x in mu)", 9, "GeneratorExp"),
    ("mu > f'{mu}'", 6, "f-string"),
    ("mu > (a := 3)", 7, "an assignment"),
    ("mu > (1 if 1 else 2)", 7, "if / else"),
    ("mu > 10 ** 9999", 12, "exponent"),
    ("mu > 2 ** 0.5", 11, "exponent"),
    ("mu > 2 ** mu", 11, "plain number"),
    ("mu > 9 ** 8 ** 9999", 11, "plain number"),
    ("mu > 1e999", 6, "numbers beyond"),
    ("mu > " + "9" * 500, 6, "numbers beyond"),
    ("mu > 1j", 6, "plain number"),
    ("mu > True", 6, "plain number"),
    ("mu > 'a'", 6, "plain number"),
    ("mu > None", 6, "plain number"),
    ("mu != 0", 7, "compare"),
    ("mu is 0", 7, "compare"),
    ("mu in sigma", 7, "compare"),
    ("mu", 1, "a rule is a comparison"),
    ("mean(mu)", 1, "a rule is a comparison"),
    ("not mu > 0", 1, "Not"),
    ("mu > (sigma > 0)", 7, "a comparison inside"),
    ("mu @ sigma > 0", 1, "MatMult"),
    ("mu % 2 > 0", 1, "Mod"),
    ("mu[0] > 0", 4, "a slice is"),
    ("mu[1:2:3] > 0", 4, "a slice is"),
    ("mu[2.9:2.6] > 0", 4, "goes up"),
    ("mu[a:b] > 0", 4, "plain number"),
    ("mean(mu)[2:3] > 0", 1, "only a value with one number a bin"),
    ("mu > 0 and band('XY') > 0", 17, "unknown molecule 'XY'"),
    ("band(mu) > 0", 1, "expected band"),
    ("mu[mean('H2O')] > 0", 4, "expected band"),
    ("mean(mean(mu)) > 0", 1, "needs one number a bin"),
    ("mu > diff(3)", 6, "needs one number a bin"),
    ("diff(mu, 3) > 0", 10, "order of diff"),
    ("abs(mu, mu) > 0", 1, "abs takes one argument"),
    ("abs() < mu", 1, "abs takes one argument"),
    ("min(mu, 1, 2) > 0", 1, "one argument or two"),
    ("mean(*mu) > 0", 6, "Starred"),
    ("mean(x=mu) > 0", 8, "no named arguments"),
    ("mean(**mu) > 0", 8, "no named arguments"),
    ("wl > 2", 1, "depends on mu or sigma"),
    ("0 < 1 < mu", 1, "depends on mu or sigma"),
    ("mu >", 5, "not an expression"),
    ("mu > 0)", 7, "unmatched"),
    ("mu = 0", 4, "not an expression"),
    ("import os", 1, "not an expression"),
    ("mu > 0; import os", 7, "not an expression"),
    ("", 1, "empty"),
    (" \n ", 1, "empty"),
    ("mu > \x00", 6, "cannot be part"),
    ("mu > \ud800", 6, "cannot be part"),
    ("\u03bc > 0", 1, "unknown name"),
    ("abs(mu) > \u00e9\u00e8\u00e9 + mu.x", 11, "unknown name"),
    ("'\u00e9\u00e8' < mu.x", 1, "plain number"),
    ("mu + '\u00e9\u00e8\u4e16' > 0", 6, "plain number"),
    ("0 < mu > abs(mu) + foo", 20, "unknown name 'foo'"),
    ("   mu > foo", 9, "unknown name 'foo'"),
    ("a" * 1_000_000, 2001, "at most 2000 characters, not 1000000"),
    ("(" * 1_000_000, 2001, "at most 2000"),
    ("(" * 300 + "mu" + ")" * 300 + " > 0", 65, "nested brackets"),
    ("mu > " + "-" * 1500 + "mu", 71, "nested operations"),
    ("mu" + "[1:2]" * 300 + " > 0", 1, "nested operations"),
]


@pytest.mark.parametrize(("text", "column", "reason"), REFUSED, ids=[repr(case[0][:30]) for case in REFUSED])
def test_refused_with_its_column(text, column, reason):
    with pytest.raises(RuleError, match=f"column {column}: ") as caught:
        parse(text)
    assert reason in caught.value.reason and caught.value.column == column
    head, shown, caret = str(caught.value).splitlines()
    assert caret.strip() == "^" and len(str(caught.value)) < 500
    if len(text) < grammar.SHOWN and text.isprintable() and column <= len(text):
        assert shown[caret.index("^")] == text[column - 1]


@pytest.mark.parametrize("value", [None, 5, True, ["mu >= 0"], b"mu >= 0"])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(RuleError, match="a rule is text"):
        parse(value)


def test_nothing_of_the_text_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("open('hit', 'w') > mu", "mu > __import__('os').mkdir('hit')", 'exec(\'open("hit", "w")\') > mu'):
        with pytest.raises(RuleError):
            parse(text)
    assert not any(tmp_path.iterdir())


_WORDS = (
    "mu sigma wl ppm ( ) [ ] + - * ** / // % < > <= >= == != : , . and or not mean( diff( band( min( 1 2.6 1e9 "
    "lambda if else for in is := f'{mu}' __import__ abs( \\ # @ ~ ; = { } ... await yield \"H2O\" 'x'"
)
_TOKENS = st.sampled_from([*_WORDS.split(), *"\u00e9\u2028\x00\t\n "])


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(max_size=40), st.lists(_TOKENS, max_size=25).map(" ".join), st.lists(_TOKENS, max_size=25).map("".join)
    )
)
def test_any_text_is_a_rule_or_a_rule_error(text):
    try:
        rule = parse(text)
    except RuleError as error:
        assert 1 <= error.column <= len(text) + 1
        return
    try:
        assert rule.penalty(MU, SIGMA, WL).shape == (PLANETS,)
    except RuleError as error:  # a slice without bins
        assert 1 <= error.column <= len(text)


@pytest.mark.parametrize(
    ("text", "column"),
    [("mu > 0 and mean(mu[5:6]) > 0", 17), ("mu[2:2.1] - mu[3:3.1] > 0", 1), ("diff(mu[:1]) > 0", 1)],
)
def test_a_slice_without_bins_is_pointed_at(text, column):
    rule = parse(text)
    with pytest.raises(RuleError, match=f"column {column}: no "):
        rule.penalty(MU, SIGMA, WL)


def test_errors_survive_a_process_boundary():
    with pytest.raises(RuleError) as caught:
        parse("mu > foo")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value) and copy.column == 6
