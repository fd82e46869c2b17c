import pytest

from localllm_magics.core.address import Address
from localllm_magics.core.download_link import is_model_page
from localllm_magics.core.errors import BadOption

U = "http://h:8080"


@pytest.mark.parametrize(
    ("text", "to_type"),
    [
        pytest.param(
            f"{U}/download?file=x.gguf",
            f"!curl -L -o x.gguf '{U}/download?file=x.gguf'  and  %llm load x.gguf",
            id="in the query",
        ),
        pytest.param(f"{U}?file=x.gguf", f"!curl -L -o x.gguf '{U}?file=x.gguf'", id="no path"),
        pytest.param(f"{U}/models?f=a%2Fx.gguf&x=1", f"'{U}/models?f=a%2Fx.gguf&x=1'", id="encoded in the query"),
        pytest.param(f"{U}/x%2Egguf", f"!curl -L -o x.gguf {U}/x%2Egguf  and  %llm load x.gguf", id="encoded"),
        pytest.param(f"{U}/my%20x.gguf/", f"-o 'my x.gguf' {U}/my%20x.gguf  and  %llm load 'my x.gguf'", id="a space"),
        pytest.param(f"{U}/x.gguf%3Fdownload", "%llm load x.gguf", id="an encoded question mark"),
        pytest.param(f"{U}/x.llamafile?dl=1", "%llm load llamafile:x.llamafile", id="a llamafile"),
        pytest.param(
            "https://modelscope.cn/api/v1/models/a/b/repo?Revision=master&FilePath=x.gguf",
            "!curl -L -o x.gguf 'https://modelscope.cn/api/v1/models/a/b/repo?Revision=master&FilePath=x.gguf'",
            id="ModelScope",
        ),
        pytest.param(
            "https://cas-bridge.xethub.hf.co/ab/0a1b?x=filename*%3DUTF-8''x.gguf%3B&y=1",
            "%llm load x.gguf",
            id="where a link of Hugging Face leads",
        ),
        pytest.param(f"{U}/x.gguf.part", f"!curl -LO {U}/x.gguf.part", id="a part"),
        pytest.param(f"{U}/x.gguf-split-a", f"!curl -LO {U}/x.gguf-split-a", id="a part of a split file"),
        *(
            pytest.param(f"{U}/x.{ending}", f"!curl -LO {U}/x.{ending}", id=ending)
            for ending in ("tar.gz", "pth", "pt", "onnx", "gz", "7z", "exe", "ZIP", "bin", "safetensors.index.json")
        ),
    ],
)
def test_a_link_to_a_file_says_how_to_download_it(text: str, to_type: str) -> None:
    with pytest.raises(BadOption, match="a file to download, and no server; nothing was sent there") as caught:
        Address.from_text(text)

    assert to_type in caught.value.hint


@pytest.mark.parametrize(("rest", "is_in_query"), [("x?file=x.gguf", True), ("x.gguf?file=y", False)])
def test_a_query_that_may_be_a_server_s_can_be_left_out(rest: str, *, is_in_query: bool) -> None:
    with pytest.raises(BadOption) as caught:
        Address.from_text(f"{U}/{rest}")

    assert ("leave out what follows the question mark" in caught.value.hint) == is_in_query


@pytest.mark.parametrize("ending", ["gguf", "tar.gz"])
def test_only_what_can_be_loaded_is_to_be_loaded(ending: str) -> None:
    with pytest.raises(BadOption) as caught:
        Address.from_text(f"{U}/x.{ending}")

    assert ("%llm load" in caught.value.hint) == (ending == "gguf")


@pytest.mark.parametrize(
    ("text", "to_type"),
    [
        pytest.param("https://modelscope.cn/models/a/b", "%llm pull ollama:modelscope.cn/a/b", id="ModelScope"),
        pytest.param(
            "https://www.modelscope.ai/a/b/files", "%llm pull ollama:modelscope.cn/a/b", id="ModelScope's name"
        ),
        pytest.param("https://huggingface.co./a/b", "%llm pull ollama:hf.co/a/b", id="a name with a period"),
        pytest.param("https://hf-mirror.com/a/b", "%llm pull ollama:hf.co/a/b", id="a mirror"),
        pytest.param("https://cdn-lfs.huggingface.co/repos/ab/12", "ollama:hf.co/USER/REPOSITORY", id="files"),
        pytest.param("https://cdn-lfs-us-1.hf.co/repos/ab/12", "ollama:hf.co/USER/REPOSITORY", id="more files"),
        pytest.param("https://ollama.com/library", "%llm pull ollama:NAME", id="all models of Ollama"),
        pytest.param("https://ollama.com/search?q=x", "%llm pull ollama:NAME", id="a search"),
        pytest.param("https://ollama.com/library/llama3.2/tags", "%llm pull ollama:llama3.2", id="the tags"),
    ],
)
def test_a_page_of_models_says_what_to_pull(text: str, to_type: str) -> None:
    with pytest.raises(BadOption, match="to download, and no server; nothing was sent there") as caught:
        Address.from_text(text)

    assert caught.value.hint.endswith(to_type)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1.5",
        "/v1beta/openai",
        "/user/me@x.org/proxy/8080",
        "/models.example",
        "/upstream/x.gguf/other",
        "/gguf",
        "/x.ggufs",
        "/v1.tarpit",
    ],
)
def test_a_path_with_a_dot_is_that_of_a_server(path: str) -> None:
    assert Address.from_text(f"{U}{path}/v1?key=a.b&model=org/m").path == path


@pytest.mark.parametrize("host", ["router.huggingface.co", "api-inference.modelscope.cn", "x.hf.space"])
def test_the_servers_of_a_hub_are_servers(host: str) -> None:
    assert Address.from_text(f"https://{host}/v1").host == host


@pytest.mark.parametrize(
    ("text", "is_page"),
    [
        ("hf.co/a/b/blob/main/x.gguf", True),
        ("modelscope.cn/models/a/b", True),
        ("hf-mirror.com/a/b/c", True),
        ("cdn-lfs.hf.co/a/b/c", True),
        ("www.ollama.com/x", True),
        ("hf.co/a/b:Q4_K_M", False),
        ("modelscope.cn/a/b", False),
        ("registry.ollama.ai/library/demo:latest", False),
        ("folder/a/b/c", False),
        ("demo", False),
    ],
)
def test_a_link_without_its_scheme_is_told_from_a_name_in_ollama(text: str, *, is_page: bool) -> None:
    assert is_model_page(text) == is_page
