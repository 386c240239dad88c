"""The fault harness: the controllers against a real control plane, with every request harmed in every way.

- `scenarios`: what happens, in worlds of their own: a namespace, a repository, definitions with names of their own.
- `releases`: what a world with a HelmRelease in it has besides.
- `transport`: the wire at the transport's seam. It numbers requests, injects one fault a run, guards deletions.
- `views`: watches and lists that lie.
- `world`: the controllers inside this interpreter, their lives and deaths, and what the cluster looks like in the end.
- `sweep`: the undisturbed run, the runs with faults, and the comparison.
- `run`: all of it (`make sweep`); `test_sample` is the part that belongs to `make test`.

A request is found again in another run by its method, its path, whether it is a dry run, and which one of its kind it
is: requests that go side by side have no order worth remembering. The monotonic clock runs twenty times as fast, so
that backoffs cost little; the wall clock, the server's own times and those of git are real.
"""
