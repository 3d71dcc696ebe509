-- Sends one and the same GET; wrk itself counts what is no 2xx or 3xx.
local threads = {}
function setup(thread) table.insert(threads, thread) end
function done(summary, latency, _)
  io.write(string.format(
    'RESULT {"rate": %.2f, "p50": %.3f, "p95": %.3f, "p99": %.3f, "statuses": {"200": %d}, ' ..
    '"errors": {"other": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d}}\n',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3, summary.requests - summary.errors.status, summary.errors.status,
    summary.errors.connect, summary.errors.read, summary.errors.write, summary.errors.timeout))
end
