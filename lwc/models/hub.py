"""The Hugging Face hub: the local cache first, then the network, whose absence shows within five seconds."""

import os
import threading
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError

from lwc.errors import BadInputError, ResourceError
from lwc.files import one_line
from lwc.models.hf_folder import CONFIG, PREPROCESSOR, WEIGHTS

# Less than five seconds, with room for starting the attempt.
DEADLINE = 4.5


def fetch(hub_id: str) -> Path:
    """The folder that holds the files of `hub_id`, from the cache or downloaded into it.

    Whether the hub can be reached is decided within DEADLINE seconds; a download may take longer. Raises
    ResourceError where it cannot be reached, BadInputError where it has no such model in safetensors.
    """
    cached = _cached(hub_id)
    if cached is not None:
        return cached
    problem = _unreachable()
    if problem is not None:
        raise ResourceError(
            f"{hub_id}: not in the local cache, and the hub is out of reach ({problem}); give a local folder"
        )
    return _download(hub_id)


def _endpoint() -> str:
    return constants.ENDPOINT


def _cached(hub_id: str) -> Path | None:
    files = [huggingface_hub.try_to_load_from_cache(hub_id, name) for name in (CONFIG, WEIGHTS)]
    if not all(isinstance(file, str) for file in files):
        return None
    return Path(str(files[0])).parent


def _unreachable() -> str | None:
    """Why the hub cannot be reached; None where it answers."""
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    outcome: list[str | None] = []

    def ask() -> None:
        try:
            # Any answer will do, even a refusal: the download then says what is wrong.
            huggingface_hub.get_session().head(_endpoint(), timeout=DEADLINE)
            outcome.append(None)
        except Exception as error:
            outcome.append(one_line(error))

    # A resolver that hangs cannot be interrupted, only left behind.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    return outcome[0] if outcome else f"no answer within {DEADLINE} s"


def _download(hub_id: str) -> Path:
    try:
        for name in (WEIGHTS, CONFIG):
            path = huggingface_hub.hf_hub_download(hub_id, name, endpoint=_endpoint())
    except EntryNotFoundError:
        raise BadInputError(f"{hub_id}: has no {name} on the hub; lwc reads safetensors only") from None
    except Exception as error:
        raise ResourceError(f"{hub_id}: cannot be downloaded ({one_line(error)}); try again") from None
    try:
        huggingface_hub.hf_hub_download(hub_id, PREPROCESSOR, endpoint=_endpoint())
    except EntryNotFoundError:
        pass
    except Exception as error:
        raise ResourceError(f"{hub_id}: cannot be downloaded ({one_line(error)}); try again") from None
    return Path(path).parent
