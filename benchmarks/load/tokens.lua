-- A token request for each client in turn; every answer must be 200 with a JWT.
--
--   wrk … -s tokens.lua URL -- CREDENTIALS [FIRST]
--
-- CREDENTIALS is a file with a request body per line, in the order in which they are sent.
-- FIRST is the line to start at, so that the next run does not send single-use credentials again.

local bodies, next_one = {}, 0
local headers = { ["Content-Type"] = "application/x-www-form-urlencoded" }
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  for line in io.lines(arguments[1]) do
    bodies[#bodies + 1] = wrk.format("POST", nil, headers, line)
  end
  next_one = (tonumber(arguments[2]) or 1) - 1
  answers, wrong, first_wrong = 0, 0, ""
end

function request()
  next_one = next_one % #bodies + 1
  return bodies[next_one]
end

function response(status, _, body)
  answers = answers + 1
  if status ~= 200 or not body:find('"access_token": ?"ey') then
    wrong = wrong + 1
    if first_wrong == "" then first_wrong = status .. " " .. body:sub(1, 200) end
  end
end

function done(summary, latency)
  dofile(os.getenv("BENCH_REPORT"))(threads, summary, latency)
end
