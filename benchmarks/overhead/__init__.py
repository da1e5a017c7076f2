"""What watching a job costs: CPU per no-op job, with jobmon and with what users have today.

Run with ``python -m benchmarks.overhead``; the method and the last full result are in
``docs/benchmarks/overhead.md``. Nothing of ``jobmon`` may import this.
"""
