"""Files for deployment: ONNX, int8, safetensors, sparse safetensors, torch.export and state_dict."""
