"""A small shop. It knows nothing about rate limits: Envoy asks fluxlimit before a request gets here."""

from fastapi import FastAPI, HTTPException

app = FastAPI(title="shop")

PRICES = {"tea": 4, "coffee": 3}


@app.get("/items")
def items() -> list[str]:
    return sorted(PRICES)


@app.get("/items/{name}")
def item(name: str) -> dict[str, str | int]:
    if name not in PRICES:
        raise HTTPException(status_code=404, detail="no such item")
    return {"name": name, "price": PRICES[name]}


@app.get("/report")
def report() -> dict[str, int]:
    """Imagine that this takes the database a while."""
    return {"items": len(PRICES), "total": sum(PRICES.values())}
