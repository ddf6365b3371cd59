"""A small notice board. It knows nothing about rate limits: Envoy asks fluxlimit before a request gets here."""

from flask import Flask

app = Flask(__name__)


@app.get("/slow")
def slow() -> str:
    return "that took a while\n"


@app.get("/fast")
def fast() -> str:
    return "here you are\n"


@app.get("/ping")
def ping() -> str:
    return "PONG\n"
