"""Writes mtcnn.safetensors beside this file from the weights in the facenet-pytorch wheel.

    pip download --no-deps facenet-pytorch==2.6.0
    pip install torch safetensors && python convert.py facenet_pytorch-2.6.0-py3-none-any.whl
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

SHA256 = {
    "pnet": "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    "rnet": "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    "onet": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
}

tensors = {}
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for network, sha256 in SHA256.items():
        data = wheel.read(f"facenet_pytorch/data/{network}.pt")
        assert hashlib.sha256(data).hexdigest() == sha256, f"{network}.pt is not that of facenet-pytorch 2.6.0"
        state = torch.load(io.BytesIO(data), weights_only=True)
        tensors |= {f"{network}.{name}": tensor.contiguous() for name, tensor in state.items()}

target = Path(__file__).parent / "mtcnn.safetensors"
save_file(tensors, target)
print(f"{len(tensors)} tensors, sha256 {hashlib.sha256(target.read_bytes()).hexdigest()}")
