"""Where a server is: from the URL that a user writes to what a connection needs."""

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from localllm_magics.core.download_link import download_error
from localllm_magics.core.errors import BadOption

KEY_VARIABLE = "LOCALLLM_API_KEY"
"""The environment variable with the key for servers that have none of their own."""
PORTS = {"http": 80, "https": 443}
_EXAMPLE = "Write it like http://127.0.0.1:8080."
_ENDPOINT = re.compile(
    r"(/chat/completions|/completions?|/models|/responses|/embeddings?|/(re)?rank(ing)?|/infill|/(de)?tokenize"
    r"|/props|/health|/slots|/metrics|/version|/docs|/openapi\.json|/index\.html"
    r"|(?<=/v1)/(chat|(messages|engines|audio|images|models)(/.*)?)"
    r"|(?<!/api)/v1|/api(/(generate|chat|tags|version|show|ps|pull|embed))?|/)\Z",
    re.IGNORECASE,
)
_AROUND = " \t\r\n<>()`\"'"
_BEFORE_PATH = re.compile(r"\s*https?://(\[[^\]/@]*\]|[^:/?#@\\]*)(:\d+)?/", re.IGNORECASE)
"""Host and port; an @ behind them is no user's."""
_TYPED_LOGIN = re.compile(
    r"(?P<before>((ollama|openai):\S*@)?)(?!(ollama|openai|llamafile):|[a-z]:[/\\])[^\s:@/\\]*:\S+@\S", re.IGNORECASE
)
"""A user and a password in an address that does not begin with http://, whether it is of a model or not."""
_ORIGIN = re.compile(r"\s*(https?://)?[^/?#]*", re.IGNORECASE)
_OWN = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
_HOST = re.compile(r"[^\s/?#@\\:%\x00-\x20]+(%[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a server's URL; HOST has no brackets, PATH no slash at its end.

    Args:
        is_localhost: It was written as `localhost`, so that `::1` may be meant.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    is_localhost: bool = field(default=False, compare=False)

    @classmethod
    def from_parts(cls, scheme: str, host: str, port: int, path: str) -> "Address":
        """The address to connect to; a path that ends in `/v1`, or in an endpoint, is that of its parent.

        An `/api` at the end is Ollama's, and so no part of the address; `/api/v1` is another server's, and stays.

        A server that binds every interface (`0.0.0.0`, `::`) is reached on this machine's own, and so is `localhost`,
        which most servers mean as 127.0.0.1; for TLS the name stays, as a certificate may hold nothing else.
        """
        name = host.lower().rstrip(".")
        is_localhost = name == "localhost" and scheme == "http"
        known = "127.0.0.1" if is_localhost else _OWN.get(name, host)
        while (base := _ENDPOINT.sub("", path)) != path:
            path = base
        return cls(scheme, known, port, path, is_localhost)

    @classmethod
    def from_text(cls, text: str) -> "Address":
        """An address from a URL, perhaps in brackets or quotation marks.

        The query and the fragment are left out: no server has an API there.

        Raises:
            BadOption: It is no URL of a server.
        """
        text = _bare(text)
        if "@" in text and not _BEFORE_PATH.match(text):  # checked first, so that no message shows a password
            raise login_error()
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as exc:
            raise BadOption(f"{text!r} is no address: {exc}.", _EXAMPLE) from exc
        if parts.scheme not in PORTS or port == 0:
            raise BadOption(f"{text!r} is no address of a server.", _EXAMPLE)
        address = cls.from_parts(parts.scheme, parts.hostname or "", port or PORTS[parts.scheme], parts.path)
        return address.require_host(text)

    @classmethod
    def from_typed(cls, text: str) -> "Address":
        """An address from a URL whose `http://` may be left out.

        Raises:
            BadOption: It is no URL of a server.
        """
        return cls.from_text(text if "://" in text else f"http://{_bare(text)}")

    def require_host(self, text: str) -> "Address":
        """This address.

        Args:
            text: What it was made of.

        Raises:
            BadOption: Its host cannot be one, or it is a link to a model.
        """
        if not _HOST.fullmatch(self.host.replace(":", ".")):
            raise BadOption(f"{text!r} is no address of a server.", _EXAMPLE)
        typed = _ORIGIN.sub("", text, count=1).rstrip()
        origin = self.url.removesuffix(self.path).removesuffix(f":{PORTS[self.scheme]}")
        error = download_error(origin, self.host.rstrip("."), self.path, typed)
        if error is not None:
            raise error
        return self

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"{self.scheme}://{self.netloc}{self.path}"

    @property
    def netloc(self) -> str:
        """Host and port."""
        host = "localhost" if self.is_localhost else f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, where no proxy can help."""
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return f".{self.host.lower()}".rstrip(".").endswith(".localhost")

    @property
    def other_hosts(self) -> tuple[str, ...]:
        """What to connect to where the host refuses: some servers bind `localhost` as `::1`."""
        return ("::1",) if self.is_localhost else ()

    def __str__(self) -> str:
        return self.url


def login_error() -> BadOption:
    """The error of an address with a user and a password."""
    return BadOption(
        "An address holds no user and no password: it would be saved in the notebook.",
        f"Leave them out, and put into the environment variable {KEY_VARIABLE}: Basic USER:PASSWORD",
    )


def hide_login(reference: str) -> str:
    """REFERENCE, to a model or a server, without the user and the password that its address may hold."""
    scheme = re.search(r"https?://", reference, re.IGNORECASE)
    if scheme is None:
        typed = _TYPED_LOGIN.match(reference)
        start = None if typed is None else typed.end("before")
    else:
        url = reference[scheme.start() :]
        start = None if "@" not in url or _BEFORE_PATH.match(url) else scheme.end()
    return reference if start is None else f"{reference[:start]}…@{reference.rpartition('@')[2]}"


def _bare(text: str) -> str:
    """TEXT without what stands around an address in a sentence, and is copied with it."""
    bare = text.lstrip(_AROUND)
    return bare.rstrip(f"{_AROUND},.;".replace(")", "" if "(" in bare else ")"))
