-- wrk's side of bench/ingress.py: POSTs the bodies of a file, one a line, in turn, and ends with one line of JSON.

local requests, turn, refused = {}, 0, 0

function init(arguments)
  local headers = { ["Content-Type"] = "application/x-www-form-urlencoded", ["Host"] = wrk.host .. ":" .. wrk.port }
  for body in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  io.write(string.format('{"requests": %d, "failed": %d, "seconds": %f, "p50": %f, "p99": %f}\n',
    summary.requests - errors.status, failed, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
