"""A converted folder to the Hugging Face hub, by way of its library."""

from pathlib import Path

from fastvlm_mlx.errors import HubError


def upload(folder: Path, repo_id: str) -> str:
    """Put a folder into a repository, made private where there is none.

    Private, because the licence of the original may forbid passing weights on.

    Returns:
        The address of the commit.

    Raises:
        HubError: no token, no permission, no network.
    """
    from huggingface_hub import HfApi  # takes 0.2 s to import

    api = HfApi()
    try:
        api.create_repo(repo_id, private=True, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message="Weights converted by fastvlm-mlx",
        )
    except Exception as error:  # the hub client's errors share no base class
        reason = str(error).strip().split("\n")[0]
        raise HubError(
            f"{folder} could not be uploaded to {repo_id} ({type(error).__name__}: "
            f"{reason}). It is whole on this disk; log in with `hf auth login` and "
            "upload it again."
        ) from None
    return str(commit.commit_url)
