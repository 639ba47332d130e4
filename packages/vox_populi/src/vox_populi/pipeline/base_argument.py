"""The base of a training run as a folder, once its rows are known to be there."""

from __future__ import annotations

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.folder_rows import files_of
from vox_populi.hf.hub_name import hub_name_of
from vox_populi.hub.transfer import UNWATCHED, TransferWatcher
from vox_populi.pipeline.early_refusals import require_rows
from vox_populi.pipeline.model_arguments import with_model_folders


def with_base_folder(
    contract: FinetuneContract, watcher: TransferWatcher = UNWATCHED
) -> FinetuneContract:
    """The request of a training run with a folder in place of a name of the hub.

    Rows that are not there are refused first: nobody waits for a model to hear of a typing error.

    Raises:
        DataError: When rows of a request that names a model of the hub are not there.
        ModelError: As `with_model_folders`.
        EnvironmentFailure: As `with_model_folders`.
        MissingExtraError: As `with_model_folders`.
    """
    if contract.model_dir is not None and hub_name_of(contract.model_dir) is not None:
        require_rows(contract.data_paths)
        files_of(contract.data_paths)
    return with_model_folders(contract, watcher)
