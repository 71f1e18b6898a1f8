"""LaTeX formulas as MathML, which browsers show by themselves: no script and no font from another host.

Knows the part of LaTeX that definitions of metrics need. What it does not know raises `FormulaError`, and the page
shows the LaTeX as it is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from medfm.errors import MedfmError


class FormulaError(MedfmError, ValueError):
    """The formula uses LaTeX that `mathml` does not know; `what` names it."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"no MathML for {what!r}")


def _pairs(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


_LETTERS = _pairs("""
    alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ iota ι kappa κ lambda λ mu μ nu ν xi ξ
    pi π rho ρ sigma σ tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π
    Sigma Σ Phi Φ Psi Ψ Omega Ω ell ℓ infty ∞ partial ∂ nabla ∇ emptyset ∅ varnothing ∅
""")
_OPERATORS = _pairs(r"""
    cdot ⋅ times × div ÷ pm ± mp ∓ le ≤ leq ≤ ge ≥ geq ≥ neq ≠ ne ≠ approx ≈ sim ∼ equiv ≡ in ∈ notin ∉ subset ⊂
    subseteq ⊆ cap ∩ cup ∪ setminus ∖ to → rightarrow → mapsto ↦ Rightarrow ⇒ ldots … dots … cdots ⋯ vdots ⋮ forall ∀
    exists ∃ land ∧ wedge ∧ lor ∨ vee ∨ neg ¬ mid ∣ vert | lvert | rvert | Vert ‖ lVert ‖ rVert ‖ | ‖ { { } } lbrace {
    rbrace } langle ⟨ rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ ll ≪ gg ≫ propto ∝ colon : circ ∘ ast ∗ star ⋆ oplus ⊕
    prime ′ % % # # & & _ _ $ $ lt < gt > backslash \ top ⊤
""")
_TIGHT = ' stretchy="false" lspace="0" rspace="0"'
_BARS = frozenset(["vert", "lvert", "rvert", "Vert", "lVert", "rVert", "|"])
_BIG = _pairs("sum ∑ prod ∏ int ∫ bigcup ⋃ bigcap ⋂")
_ACCENTS = _pairs("hat ^ widehat ^ bar ¯ overline ¯ tilde ~ widetilde ~ vec → dot ˙")
_DOUBLE = _pairs("R ℝ N ℕ Z ℤ Q ℚ C ℂ E 𝔼 P ℙ 1 𝟙 I 𝕀")
_LIMITS = frozenset(["max", "min", "sup", "inf", "lim", "argmax", "argmin"])
_NAMES = _LIMITS | {"log", "ln", "exp", "sin", "cos", "tan", "tanh", "Pr", "det", "dim", "arg", "rank", "tr", "median"}
_FONTS = {"mathrm", "mathbf", "mathit", "mathsf", "mathtt", "mathcal", "mathbb", "boldsymbol", "operatorname", "bm"}
_BOLD_OR_SCRIPT = {"mathbf": "bold", "boldsymbol": "bold", "bm": "bold", "mathcal": "script"}
_SPACES = {",": 0.17, ":": 0.22, ";": 0.28, "!": -0.17, " ": 0.25, "quad": 1.0, "qquad": 2.0}
_IGNORED = re.compile(r"(displaystyle|textstyle|(no)?limits|[bB]igg?[lrm]?)\Z")
_ENVIRONMENTS = {"cases": ("{", ""), "pmatrix": ("(", ")"), "bmatrix": ("[", "]")}
_PLAIN_ENVIRONMENTS = frozenset(["aligned", "align", "array", "matrix"])
_TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|\d+(?:[.,]\d+)*|\s+|.", re.DOTALL)
_TEXT = re.compile(r"\\(?:text|textrm|textit|textbf|mbox)\s*\{([^{}]*)\}")


def mathml(latex: str, *, display: bool = True) -> str:
    """Return a formula as a MathML element that keeps the LaTeX as its annotation.

    Args:
        latex: the formula without dollar signs.
        display: on a line of its own; otherwise inside a line of text.

    Raises:
        FormulaError: the formula uses something unknown, or braces do not match.

    >>> mathml("n^2", display=False).partition("<annotation")[0]
    '<math><semantics><mrow><msup><mi>n</mi><mn>2</mn></msup></mrow>'
    """
    source = " ".join(latex.split())
    parser = _Parser(source)
    body = "".join(parser.until(""))
    mode = ' display="block"' if display else ""
    note = f'<annotation encoding="application/x-tex">{html.escape(source, quote=False)}</annotation>'
    return f"<math{mode}><semantics><mrow>{body}</mrow>{note}</semantics></math>"


class _Parser:
    """Reads tokens from the left; each method gives the MathML of what it read."""

    def __init__(self, latex: str) -> None:
        self._texts: list[str] = []
        # texts keep their spaces, which mean nothing elsewhere: they are set aside and read as one piece
        marked = _TEXT.sub(self._set_aside, latex)
        self._pieces = [piece for piece in _TOKEN.findall(marked) if not piece.isspace()]
        self._at = 0

    def _set_aside(self, match: re.Match[str]) -> str:
        self._texts.append(match[1])
        return chr(0xE000 + len(self._texts) - 1)  # private use area: no formula holds these

    def _peek(self) -> str:
        return self._pieces[self._at] if self._at < len(self._pieces) else ""

    def _next(self) -> str:
        piece = self._peek()
        if not piece:
            raise FormulaError("the end of the formula")
        self._at += 1
        return piece

    def until(self, *ends: str) -> Iterator[str]:
        """Give the elements up to one of the tokens, which is left to be read."""
        while self._peek() not in ends:
            if self._peek() in ("", "}", "\\right", "\\end", "&", "\\\\"):
                raise FormulaError(self._peek() or "the end of the formula")
            yield self._scripted()

    def _scripted(self) -> str:
        piece = self._peek()
        base = self._atom()
        name = piece.lstrip("\\").rstrip("*")
        below = name in _LIMITS or (name in _BIG and name != "int")
        subs: list[str] = []
        sups: list[str] = []
        while self._peek() in ("_", "^", "'"):
            mark = self._next()
            (subs if mark == "_" else sups).append("<mo>′</mo>" if mark == "'" else self._argument())
        if not (subs or sups):
            return base
        scripts = "".join(found[0] if len(found) == 1 else _row(*found) for found in (subs, sups) if found)
        if subs and sups:
            tag = "munderover" if below else "msubsup"
        else:
            tag = ("munder" if subs else "mover") if below else ("msub" if subs else "msup")
        return f"<{tag}>{base or _row()}{scripts}</{tag}>"

    def _argument(self) -> str:
        """Read one group in braces or one piece, as exactly one element."""
        if self._peek() == "{":
            self._next()
            inner = _row(*self.until("}"))
            self._next()
            return inner
        if self._peek().isdigit() and len(self._peek()) > 1:  # TeX takes one digit: \frac12 is one half
            digits = self._next()
            self._at -= 1
            self._pieces[self._at] = digits[1:]
            return f"<mn>{digits[0]}</mn>"
        return self._atom() or _row()

    def _atom(self) -> str:
        piece = self._peek()
        if piece == "{":
            return self._argument()
        self._next()
        if piece.startswith("\\") and len(piece) > 1:
            return self._command(piece[1:].rstrip("*"))
        if "\ue000" <= piece <= "\uf8ff":
            return f"<mtext>{html.escape(self._texts[ord(piece) - 0xE000])}</mtext>"
        if piece[0].isdigit():
            return f"<mn>{piece}</mn>"
        if piece.isalpha():
            return f"<mi>{piece}</mi>"
        if piece == "~":
            return '<mspace width="0.25em"/>'
        if piece in "_^}":
            raise FormulaError(piece)
        stretchy = ' stretchy="false"' if piece in "()[]" else ""  # TeX stretches after \left only
        if piece == "|":
            stretchy = _TIGHT  # a bar beside what it encloses: browsers set it apart like an operator
        return f"<mo{stretchy}>{html.escape('−' if piece == '-' else piece)}</mo>"

    def _command(self, name: str) -> str:
        if name in _LETTERS:
            return f"<mi>{_LETTERS[name]}</mi>"
        if name in _BIG:
            return f'<mo largeop="true">{_BIG[name]}</mo>'
        if name in _OPERATORS:
            stretchy = _TIGHT if name in _BARS else ""
            return f"<mo{stretchy}>{html.escape(_OPERATORS[name])}</mo>"
        if name in _NAMES:
            return f'<mi mathvariant="normal">{name}</mi>'
        if name in _SPACES:
            return f'<mspace width="{_SPACES[name]:g}em"/>'
        if _IGNORED.match(name):
            return ""
        if name in ("frac", "dfrac", "tfrac"):
            return f"<mfrac>{self._argument()}{self._argument()}</mfrac>"
        if name == "binom":
            over = f'<mfrac linethickness="0">{self._argument()}{self._argument()}</mfrac>'
            return f"<mrow><mo>(</mo>{over}<mo>)</mo></mrow>"
        if name == "sqrt":
            return self._root()
        if name in _ACCENTS:
            return f'<mover accent="true">{self._argument()}<mo>{_ACCENTS[name]}</mo></mover>'
        if name in ("underbrace", "overbrace", "underset", "overset", "stackrel"):
            raise FormulaError(f"\\{name}")
        if name in _FONTS:
            return self._font(name)
        if name == "left":
            return self._fence()
        if name == "begin":
            return self._environment()
        raise FormulaError(f"\\{name}")

    def _root(self) -> str:
        if self._peek() == "[":
            self._next()
            index = "".join(self.until("]"))
            self._next()
            return f"<mroot>{self._argument()}{_row(index)}</mroot>"
        return f"<msqrt>{self._argument()}</msqrt>"

    def _font(self, name: str) -> str:
        start = self._at
        inner = self._argument()
        letters = "".join(piece for piece in self._pieces[start : self._at] if piece not in "{}")
        if not re.fullmatch(r"[A-Za-z0-9@ -]+", letters):
            return inner
        if name == "mathbb" and letters in _DOUBLE:
            return f"<mi>{_DOUBLE[letters]}</mi>"
        style = _BOLD_OR_SCRIPT.get(name)
        if style:
            return f'<mi class="math-{style}">{letters}</mi>'
        return f'<mi mathvariant="normal">{letters}</mi>'

    def _fence(self) -> str:
        opening = self._delimiter()
        inner = "".join(self.until("\\right"))
        self._next()
        return f"<mrow>{opening}{inner}{self._delimiter()}</mrow>"

    def _delimiter(self) -> str:
        piece = self._next()
        if piece == ".":
            return ""
        sign = _OPERATORS.get(piece[1:], "") if piece.startswith("\\") else piece
        if not sign:
            raise FormulaError(piece)
        return f'<mo stretchy="true" fence="true">{html.escape(sign)}</mo>'

    def _environment(self) -> str:
        name = self._name()
        if name not in _PLAIN_ENVIRONMENTS and name not in _ENVIRONMENTS:
            raise FormulaError(f"\\begin{{{name}}}")
        if name == "array":
            self._argument()
        rows: list[list[str]] = [[""]]
        while self._peek() != "\\end":
            piece = self._peek()
            if piece == "&":
                self._next()
                rows[-1].append("")
            elif piece == "\\\\":
                self._next()
                rows.append([""])
            elif not piece:
                raise FormulaError("the end of the formula")
            else:
                rows[-1][-1] += self._scripted()
        self._next()
        self._name()
        body = "".join(f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in row)}</mtr>" for row in rows if row != [""])
        grid = f'<mtable class="math-{name}">{body}</mtable>'
        fences = _ENVIRONMENTS.get(name, ("", ""))
        left, right = (f'<mo stretchy="true" fence="true">{sign}</mo>' if sign else "" for sign in fences)
        return _row(left, grid, right)

    def _name(self) -> str:
        if self._next() != "{":
            raise FormulaError("\\begin")
        letters = ""
        while self._peek() != "}":
            letters += self._next()
        self._next()
        return letters.rstrip("*")


def _row(*elements: str) -> str:
    return f"<mrow>{''.join(elements)}</mrow>"
