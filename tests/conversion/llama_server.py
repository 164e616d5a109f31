"""Run by test_llama_cpp.py with another Python, which has xllamacpp and nothing of ours.

    python llama_server.py TEXT.gguf MMPROJ.gguf REQUESTS.json ANSWERS.json

Loads both with llama.cpp, asks its server every [path, body] of REQUESTS, writes what it answers.
"""

import json
import sys
import urllib.request

import xllamacpp

text, pictures, requests, answers = sys.argv[1:]
settings = xllamacpp.CommonParams()
settings.model.path, settings.mmproj.path = text, pictures
settings.n_ctx, settings.n_parallel, settings.warmup, settings.use_jinja = 512, 1, False, True
server = xllamacpp.Server(settings)


def ask(path: str, body: object) -> object:
    data = json.dumps(body).encode()
    request = urllib.request.Request(
        server.listening_address + path, data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


with open(requests) as file:
    found = [ask(path, body) for path, body in json.load(file)]
with open(answers, "w") as file:
    json.dump(found, file)
