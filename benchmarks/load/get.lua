-- The same GET with each of many Authorization headers in turn; every answer must have the given status.
--
--   wrk … -s get.lua URL -- STATUS [TOKENS]
--
-- TOKENS is a file with a bearer token per line.

local requests, next_one, expected = {}, 0, 204
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  expected = tonumber(arguments[1])
  if arguments[2] then
    for line in io.lines(arguments[2]) do
      requests[#requests + 1] = wrk.format("GET", nil, { Authorization = "Bearer " .. line })
    end
  else
    requests[1] = wrk.format("GET")
  end
  answers, wrong, first_wrong = 0, 0, ""
end

function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end

function response(status, _, body)
  answers = answers + 1
  if status ~= expected then
    wrong = wrong + 1
    if first_wrong == "" then first_wrong = status .. " " .. body:sub(1, 200) end
  end
end

function done(summary, latency)
  dofile(os.getenv("BENCH_REPORT"))(threads, summary, latency)
end
