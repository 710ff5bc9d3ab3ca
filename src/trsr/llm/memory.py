"""How much memory a device has left, and what running out of it looks like."""

import torch

RAN_OUT = "out of memory; lower summaries.batch_size or ranker.pass_tokens, or take a smaller dtype or model"


def free_bytes(device: torch.device) -> int:
    """Bytes that new tensors on `device` may take, as far as the system tells."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused
    import psutil

    available: int = psutil.virtual_memory().available
    return available


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out: of a GPU, of the C allocator, or of Python."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def release(device: torch.device) -> None:
    """Give cached blocks of a GPU back, so that a smaller attempt finds them."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
