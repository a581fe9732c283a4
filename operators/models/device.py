"""The hardware behind a device name."""


def device_name(device: str) -> str | None:
    """`cpu`, or the name of the GPU that `cuda` means here; None where there is no such device."""
    if device == "cpu":
        return "cpu"
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
