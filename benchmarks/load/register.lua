-- A registration (RFC 7591) of a new client per request; every answer must be 201 with a client ID.
--
--   wrk … -s register.lua URL -- REGISTRATIONS
--
-- REGISTRATIONS is a file with an initial access token, a space and a JSON body per line. Make enough of them: once they have
-- run out, answers count as wrong and the run fails.

local requests, next_one = {}, 0
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  for line in io.lines(arguments[1]) do
    local token, body = line:match("^(%S+) (.*)$")
    requests[#requests + 1] = wrk.format("POST", nil,
      { ["Content-Type"] = "application/json", Authorization = "Bearer " .. token }, body)
  end
  answers, wrong, first_wrong = 0, 0, ""
end

function request()
  next_one = next_one + 1
  return requests[next_one] or wrk.format("POST", "/ran-out")
end

function response(status, _, body)
  answers = answers + 1
  if status ~= 201 or not body:find('"client_id": ?"') then
    wrong = wrong + 1
    if first_wrong == "" then first_wrong = status .. " " .. body:sub(1, 200) end
  end
end

function done(summary, latency)
  dofile(os.getenv("BENCH_REPORT"))(threads, summary, latency)
end
