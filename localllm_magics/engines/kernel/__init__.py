"""The engine in this process: llama.cpp through llama-cpp-python's C API."""
