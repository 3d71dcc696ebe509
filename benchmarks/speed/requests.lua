-- Sends the requests of a file, one after the other, from the line START on: method, path, token, key and body,
-- separated by tabs. Answers are counted by their status.
local lines, place = {}, tonumber(os.getenv("START") or "0")
counted = {}
for line in io.lines(os.getenv("REQUESTS")) do lines[#lines + 1] = line end

local threads = {}
function setup(thread) table.insert(threads, thread) end

function request()
  place = place + 1
  local method, path, token, key, body = lines[(place - 1) % #lines + 1]:match("([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)")
  local headers = {}
  if token ~= "" then headers["Authorization"] = "Bearer " .. token end
  if key ~= "" then headers["Idempotency-Key"] = key end
  if body ~= "" then headers["Content-Type"] = "application/json" end
  return wrk.format(method, path, headers, body ~= "" and body or nil)
end

function response(status) counted[status] = (counted[status] or 0) + 1 end

function done(summary, latency, _)
  local parts = {}
  for status, count in pairs(threads[1]:get("counted")) do parts[#parts + 1] = string.format('"%d": %d', status, count) end
  io.write(string.format(
    'RESULT {"rate": %.2f, "p50": %.3f, "p95": %.3f, "p99": %.3f, "statuses": {%s}, ' ..
    '"errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d}}\n',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3, table.concat(parts, ", "), summary.errors.connect, summary.errors.read, summary.errors.write,
    summary.errors.timeout))
end
