"""The servers that speak the chat completions format, one row each.

Sources: the services' own references and SDKs, as of November 2026; what they accept, also from the recordings in
``tests/wire/openai_chat``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

__all__ = ["AZURE", "LLAMACPP", "OPENAI", "Service", "service_at", "service_named", "service_names"]


@dataclass(frozen=True, slots=True)
class Service:
    """A server that speaks the format, and where it differs from OpenAI's own.

    Attributes:
        hosts: What its host names end with.
        strict: Whether it takes OpenAI's strict schema dialect.
        grammar: Whether it turns schemas into grammars as llama.cpp does.
        allowed_tools: Whether `tool_choice` can name several tools; where it cannot, only the allowed tools are sent.
        named_choice: Whether `tool_choice` can name one tool; where it cannot, only that tool is sent.
        required: Whether `tool_choice` can ask for a call; where it cannot, nothing is sent, and an answer without a call is an
            error all the same.
        stream_usage: Whether it takes ``stream_options``.
        raw_arguments: Whether it takes back arguments that are no JSON object; where it does not, and says so, they are wrapped.
        parallel: What is sent as ``parallel_tool_calls`` when the user says nothing; None sends nothing.
        url: Its base URL, None where every user has another.
        keys: The environment variables that hold its key, the first one that is set counts; none where no key is needed.
        key_header: The header that shows it the key.
        path: Where chat completions are, below the base URL; ``{model}`` stands for the model.
        responses_path: Where responses are, below the base URL.
        header_keys: Headers that are taken from environment variables, where those are set.
    """

    name: str = "openai"
    hosts: tuple[str, ...] = ()
    strict: bool = True
    grammar: bool = False
    allowed_tools: bool = True
    named_choice: bool = True
    required: bool = True
    stream_usage: bool = True
    raw_arguments: bool = True
    parallel: bool | None = None
    url: str | None = None
    keys: tuple[str, ...] = ()
    key_header: str = "authorization"
    path: str = "/chat/completions"
    responses_path: str = "/responses"
    header_keys: tuple[tuple[str, str], ...] = ()


def _like(
    name: str,
    url: str,
    *keys: str,
    hosts: tuple[str, ...] = (),
    strict: bool = False,
    named_choice: bool = True,
    required: bool = True,
    stream_usage: bool = True,
) -> Service:
    """Return a service that is not OpenAI's: only what it is known to take is sent."""
    host = urlsplit(url).hostname or ""
    local = host == "localhost"
    return Service(
        name,
        () if local else (host, *hosts),
        strict=strict,
        allowed_tools=False,
        named_choice=named_choice,
        required=required,
        stream_usage=stream_usage,
        raw_arguments=not local,  # they put them through the model's chat template
        url=url,
        keys=keys,
    )


OPENAI: Final = Service(
    url="https://api.openai.com/v1",
    keys=("OPENAI_API_KEY",),
    header_keys=(("openai-organization", "OPENAI_ORG_ID"), ("openai-project", "OPENAI_PROJECT_ID")),
)
AZURE: Final = Service(
    "azure", ("openai.azure.com", "services.ai.azure.com"), keys=("AZURE_OPENAI_API_KEY",), key_header="api-key"
)
LLAMACPP: Final = Service(
    "llamacpp",
    strict=False,
    grammar=True,
    allowed_tools=False,
    named_choice=False,
    raw_arguments=False,
    parallel=True,
    url="http://localhost:8080/v1",
)
_SERVICES: Final = (
    OPENAI,
    AZURE,
    LLAMACPP,
    _like("baseten", "https://inference.baseten.co/v1", "BASETEN_API_KEY"),
    _like("byteplus", "https://ark.ap-southeast.bytepluses.com/api/v3", "ARK_API_KEY"),
    _like("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    _like(
        "dashscope",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "DASHSCOPE_API_KEY",
        hosts=("dashscope.aliyuncs.com", "dashscope-us.aliyuncs.com"),
    ),
    _like("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    _like("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY"),
    _like("featherless", "https://api.featherless.ai/v1", "FEATHERLESS_API_KEY"),
    _like("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", strict=True),
    _like("friendli", "https://api.friendli.ai/serverless/v1", "FRIENDLI_TOKEN"),
    _like("github", "https://models.github.ai/inference", "GITHUB_TOKEN"),
    _like("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", strict=True),
    _like("huggingface", "https://router.huggingface.co/v1", "HF_TOKEN"),
    _like("hyperbolic", "https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY"),
    _like("inception", "https://api.inceptionlabs.ai/v1", "INCEPTION_API_KEY", strict=True),
    _like("litellm", "http://localhost:4000/v1", "LITELLM_PROXY_API_KEY"),
    _like("lmstudio", "http://localhost:1234/v1", named_choice=False),
    _like("minimax", "https://api.minimax.io/v1", "MINIMAX_API_KEY", hosts=("api.minimaxi.com",)),
    _like("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", strict=True, stream_usage=False),
    _like("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", hosts=("api.moonshot.cn",), named_choice=False),
    _like("nebius", "https://api.tokenfactory.nebius.com/v1", "NEBIUS_API_KEY"),
    _like("novita", "https://api.novita.ai/openai/v1", "NOVITA_API_KEY"),
    _like("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY", stream_usage=False),
    _like("ollama", "http://localhost:11434/v1", named_choice=False),
    _like("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", strict=True),
    _like("ovhcloud", "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1", "OVHCLOUD_API_KEY"),
    _like("sambanova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    _like("scaleway", "https://api.scaleway.ai/v1", "SCW_SECRET_KEY"),
    _like("siliconflow", "https://api.siliconflow.com/v1", "SILICONFLOW_API_KEY", hosts=("api.siliconflow.cn",)),
    _like("stepfun", "https://api.stepfun.com/v1", "STEPFUN_API_KEY"),
    _like(
        "together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", hosts=("api.together.xyz", "api.together.ai"), strict=True
    ),
    _like("upstage", "https://api.upstage.ai/v1", "UPSTAGE_API_KEY"),
    _like("vercel", "https://ai-gateway.vercel.sh/v1", "AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN"),
    _like("vllm", "http://localhost:8000/v1", strict=True),
    _like("volcengine", "https://ark.cn-beijing.volces.com/api/v3", "ARK_API_KEY"),
    _like("xai", "https://api.x.ai/v1", "XAI_API_KEY", strict=True),
    _like(
        "zai",
        "https://api.z.ai/api/paas/v4",
        "ZAI_API_KEY",
        "ZHIPUAI_API_KEY",
        hosts=("open.bigmodel.cn",),
        named_choice=False,
        required=False,
    ),
)
_GOOGLE: Final = Service("google", ("generativelanguage.googleapis.com",), strict=False, allowed_tools=False, raw_arguments=False)


def service_at(url: str) -> Service:
    """Return the service behind a base URL; one that is not known is taken to be like OpenAI's own."""
    host = urlsplit(url).hostname or ""
    for service in (*_SERVICES, _GOOGLE):
        if any(host == known or host.endswith(f".{known}") for known in service.hosts):
            return service
    return OPENAI


def service_named(name: str) -> Service | None:
    """Return the service of this name, None where there is none; ``z.ai`` and ``LM Studio`` are understood."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    return next((service for service in _SERVICES if service.name == plain), None)


def service_names() -> list[str]:
    """Return the names of all services, in the order of the alphabet."""
    return sorted(service.name for service in _SERVICES)
