"""Fine-tune an embedder and a reranker that find the right document page for a question."""

from pagefinder import torchvision_free

torchvision_free.install()
