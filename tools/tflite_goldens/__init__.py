"""Small .tflite networks and what TensorFlow Lite Micro computes with them; see tools/make_tflite_goldens.py."""
