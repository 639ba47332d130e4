"""Files of tensors: headers, byte ranges, writing."""
