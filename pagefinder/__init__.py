"""Fine-tune an embedder and a reranker that find the right document page for a question."""

from pagefinder.models import torchvision_free

torchvision_free.install()
