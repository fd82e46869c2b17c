"""The variables that an expression sees where its magic stands, in a function too."""

from collections.abc import Iterator
from inspect import CO_OPTIMIZED, currentframe
from types import CodeType, FrameType

_NOT_THE_USERS = {"IPython", "ipykernel", "localllm_magics"}


def visible_names(shell_names: dict[str, object]) -> dict[str, object]:
    """The names visible to the caller: of its function and those around it, its module, and the shell."""
    frame = _calling_frame()
    if frame is None or frame.f_locals is frame.f_globals is shell_names:
        return shell_names
    names = {**shell_names, **frame.f_globals}
    # In one dictionary: a comprehension or a lambda in an evaluated expression sees no locals, only globals.
    for scope in reversed([frame, *_frames_around(frame)]):
        code, variables = scope.f_code, dict(scope.f_locals)
        if code.co_flags & CO_OPTIMIZED:
            for name in (*code.co_varnames, *code.co_cellvars, *code.co_freevars):
                names.pop(name, None)  # not bound yet: the global of that name is another variable
        names.update(variables)
    return names


def _calling_frame() -> FrameType | None:
    """The innermost frame of the user's code."""
    frame = currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _NOT_THE_USERS:
        frame = frame.f_back
    return frame


def _frames_around(frame: FrameType) -> Iterator[FrameType]:
    """The running functions in which the function of FRAME is defined, innermost first."""
    inner, outer = frame.f_code, frame.f_back
    while outer is not None:
        # As in Python, what a class body defines is not seen by its methods.
        if outer.f_code.co_flags & CO_OPTIMIZED and _defines(outer.f_code, inner):
            yield outer
            inner = outer.f_code
        outer = outer.f_back


def _defines(outer: CodeType, inner: CodeType) -> bool:
    constants = (code for code in outer.co_consts if isinstance(code, CodeType))
    return any(code is inner or _defines(code, inner) for code in constants)
