-- Sends the requests of the file REQUESTS, one after the other, from the line START on: method, path, number of a token,
-- key and body, separated by tabs. Token n is line n of the file TOKENS; 0 is none. After the last line comes the first.
-- With SECONDS each line is sent once at most, and nothing more once so many are over: what is under way is waited for,
-- so that what was answered can be counted. Answers are counted by their status.
local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds, micros; } moment; int gettimeofday(moment *, void *);")
local at = ffi.new("moment")
local function now()
  ffi.C.gettimeofday(at, nil)
  return tonumber(at.seconds) + tonumber(at.micros) / 1e6
end

local asked, tokens, seconds = io.open(os.getenv("REQUESTS")), {}, tonumber(os.getenv("SECONDS"))
for token in io.lines(os.getenv("TOKENS")) do tokens[#tokens + 1] = token end
for _ = 1, tonumber(os.getenv("START") or "0") do
  if not asked:read("*l") then asked:seek("set") end
end
local following = asked:read("*l")
counted, first, last = {}, nil, 0

local threads = {}
function setup(thread) table.insert(threads, thread) end

if seconds then
  function delay()
    if not following or (first and now() - first >= seconds) then return 1000000000 end
    return 0
  end
end

function request()
  first = first or now()
  local line = following
  following = asked:read("*l")
  if not following and not seconds then
    asked:seek("set")
    following = asked:read("*l")
  end
  if not line then return wrk.format("GET", "/nothing-is-left") end
  local method, path, token, key, body = line:match("([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)")
  local headers = {}
  if token ~= "0" then headers["Authorization"] = "Bearer " .. tokens[tonumber(token)] end
  if key ~= "" then headers["Idempotency-Key"] = key end
  if body ~= "" then headers["Content-Type"] = "application/json" end
  return wrk.format(method, path, headers, body ~= "" and body or nil)
end

function response(status)
  counted[status] = (counted[status] or 0) + 1
  last = now()
end

function done(summary, latency, _)
  local parts, total, of = {}, 0, threads[1]
  for status, count in pairs(of:get("counted")) do
    parts[#parts + 1] = string.format('"%d": %d', status, count)
    total = total + count
  end
  io.write(string.format(
    'RESULT {"rate": %.2f, "p50": %.3f, "p95": %.3f, "p99": %.3f, "statuses": {%s}, ' ..
    '"errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d}}\n',
    total / math.max(of:get("last") - (of:get("first") or 0), 1e-6), latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3, table.concat(parts, ", "), summary.errors.connect, summary.errors.read,
    summary.errors.write, summary.errors.timeout))
end
