"""`make bench`: Moorage beside its peers, on this machine, in one run.

    __main__ ── rounds ──┬── servers    start and stop a registry, in a fresh folder, on loopback
                         ├── usage      CPU and memory of a server's whole process tree, from the kernel
                         ├── load       client processes, wrk among them: their CPU is not in the measure
                         │     └── wire, content     a raw HTTP client; blobs and images that are never the same twice
                         └── report     medians, spread, ratios: one table, and JSON

What is measured stands in `workloads`; how to read the table in docs/performance.md.
"""
