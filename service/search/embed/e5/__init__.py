"""multilingual-e5-small in 4 bits: its file of weights, its tokenizer, and its graph for onnxruntime."""
