"""One module per way of building a network; its name is the `family` in `medfm.catalog.weights`.

Each module has `build(weights, files, device, dtype)`, which returns an object that implements some of the protocols in
`medfm.runtime.capabilities`.
"""
