"""Stage 2 of the paper: the dual-attention face renderer."""
