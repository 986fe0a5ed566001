"""Several processes for training and encoding: started by torchrun, or by the stage itself.

Nothing here is distributed machinery: torchrun starts the processes, torch.distributed connects
them, and each reads its place from the environment that torchrun sets. Several nodes are torchrun's
own flags: `torchrun --nnodes 2 ... -m stages.train_embedder`.
"""

import contextlib
import datetime
import logging
import os
import sys
from collections.abc import Iterator

from pagefinder.runtime import interrupts

log = logging.getLogger(__name__)

# A process may wait for another run of its stage, or for a slower process, as long as that takes.
PATIENCE = datetime.timedelta(days=14)


def rank() -> int:
    """Number of this process among those that run the stage, from 0."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """How many processes run the stage."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that holds the lock and writes the outputs."""
    return rank() == 0


def local_device(device: str) -> str:
    """The device of this process: its own card where `device` is cuda and processes are several."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and count() > 1 else device


def relaunch(module: str, wanted: int) -> None:
    """Run `wanted` processes of `module` by torchrun, and exit as they do.

    Nothing happens where torchrun started this process, or `wanted` is 1. What ends the processes,
    they log themselves; torchrun's traceback would only repeat that they ended.
    """
    if wanted == 1 or "WORLD_SIZE" in os.environ:
        return
    log.info("starting %d processes of %s under torchrun", wanted, module)
    # torchrun would choose one thread, whatever the machine has.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // wanted)))
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    arguments = ["--standalone", f"--nproc-per-node={wanted}", "-m", module, *sys.argv[1:]]
    try:
        run.main(arguments)
    except SignalException:
        sys.exit(interrupts.EXIT_CODE)
    except ChildFailedError:
        sys.exit(1)
    sys.exit()


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Connect the processes that torchrun started within the block; one alone needs nothing.

    The connection is opened here rather than by the trainer, because waiting for a lock and for
    slower processes needs a longer timeout than the default of minutes.
    """
    if count() == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    if not is_first():
        logging.getLogger().setLevel(logging.ERROR)
    backend = "cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def wait() -> None:
    """Return when all processes have called this function."""
    if count() > 1:
        import torch
        import torch.distributed as dist

        # Always on the CPU: a barrier on the card would occupy it.
        dist.all_reduce(torch.zeros(1))


def smallest(value: int) -> int:
    """The smallest `value` of all processes."""
    if count() == 1:
        return value
    import torch
    import torch.distributed as dist

    agreed = torch.tensor(value)
    dist.all_reduce(agreed, op=dist.ReduceOp.MIN)
    return int(agreed)
