"""The whole dub: options, casting, rendering, report, batches."""
