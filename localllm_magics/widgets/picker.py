"""`ModelPicker`: a widget that lists, judges, loads and unloads models."""

import uuid
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from threading import RLock
from typing import Any, cast

import traitlets
from anywidget import AnyWidget
from IPython.display import display

from localllm_magics.catalog.model_list import ModelList
from localllm_magics.engines.file_stamp import is_same_file
from localllm_magics.model import Model
from localllm_magics.session import Session, default_session
from localllm_magics.widgets.commands import Commands
from localllm_magics.widgets.control import listen
from localllm_magics.widgets.facts import Facts
from localllm_magics.widgets.modules import FOLDER, join
from localllm_magics.widgets.protocol import Answer, Row, Status
from localllm_magics.widgets.rows import to_row
from localllm_magics.widgets.static_table import to_bundle

_MOST_WAIT = 5.0
"""Seconds that the first list may take before the widget is shown without its table."""
_CLOSED = "This picker is closed. For a new one, type: `llm.ModelPicker()`"
Bundle = dict[str, Any]


class ModelPicker(AnyWidget):
    """Choose a model: what there is, what fits, how fast it will be; load it and unload it.

    `value` is the reference of the chosen model or None, at first that of the current model, and `model` is the model
    itself once it is loaded; both can be observed. Observers of `model` are called in the thread that loads.

    Args:
        session: Where models are loaded; by default where `%%llm` finds them.
        facts: What is known of models and of this machine.
    """

    _esm = join("picker.js")
    _css = (FOLDER / "picker.css").read_text("utf-8")

    value = traitlets.Unicode(None, allow_none=True).tag(sync=True)
    model = traitlets.Instance(Model, allow_none=True)
    _models: traitlets.List[Row] = traitlets.List().tag(sync=True)
    _status = traitlets.Dict().tag(sync=True)
    _address = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: Session | None = None, *, facts: Facts | None = None) -> None:
        super().__init__(_address=uuid.uuid4().hex)
        self._session = session or default_session()
        self._changing = RLock()
        self._list = ModelList()
        current = self._session.current
        self.value = None if current is None else current.info.reference
        self._commands = Commands(self._session, facts or Facts(self._session), self)
        self.on_msg(lambda _widget, message, _buffers: self._commands.receive(message))
        listen(self._address, self._commands)
        self._first_list: Future[None] = self._commands.begin()

    def __repr__(self) -> str:
        count = len(self._list)
        return f"<ModelPicker {self.value or 'nothing chosen'}, {count} model{'' if count == 1 else 's'}>"

    def close(self) -> None:
        """End what runs, and take the widget out of the page; a loaded model stays."""
        self._commands.close()
        super().close()

    def answer(self, answer: Answer) -> None:
        """Send ANSWER to the page; see `Page`."""
        self.send(answer)

    def show_models(self, models: ModelList) -> None:
        """Show MODELS; see `Page`."""
        with self._changing:
            self._list = models
            self._models = [to_row(info) for info in models]

    def show_status(self, status: Status) -> None:
        """Show STATUS; see `Page`."""
        with self._changing:
            self._status = dict(status)
            self.model = self._find_model()

    def choose(self, reference: str) -> None:
        """Make REFERENCE the value; see `Page`."""
        with self._changing:
            self.value = reference

    @traitlets.observe("value")
    def _value_changed(self, _change: object) -> None:
        with self._changing:
            self.model = self._find_model()

    def _find_model(self) -> Model | None:
        """The loaded model that is chosen."""
        chosen = next((info for info in self._list if info.reference == self.value), None)
        path = None if chosen is None else chosen.path
        named = (m for m in self._session.models if m.info.reference == self.value or is_same_file(m.path, path))
        return next((model for model in named if model.is_loaded), None)

    def _repr_mimebundle_(self, **_kwargs: object) -> tuple[Bundle, Bundle]:
        """The widget, and for what has no widgets the table of the models."""
        data, metadata = cast("tuple[Bundle, Bundle]", super()._repr_mimebundle_())
        return {**data, **self._table()}, metadata

    def _ipython_display_(self) -> None:
        """Show the widget, and below it, hidden where that lives, the table that stays in a saved notebook."""
        if self.comm is None:  # a closed widget has no bundle
            display({"text/plain": _CLOSED, "text/markdown": _CLOSED}, raw=True)
            display(self._table(), raw=True)
            return
        data, metadata = self._repr_mimebundle_()
        display({**_without(data, "text/html", "text/markdown"), "text/plain": repr(self)}, metadata, raw=True)
        display(self._table(), raw=True)

    def _table(self) -> Bundle:
        wait_for([self._first_list], _MOST_WAIT)
        return to_bundle(self._list)


def _without(bundle: Bundle, *keys: str) -> Bundle:
    return {key: value for key, value in bundle.items() if key not in keys}
