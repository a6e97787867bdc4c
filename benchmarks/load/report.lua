-- Prints the result of a run as one line: REPORT and JSON.

return function(threads, summary, latency)
  local answers, wrong, first_wrong = 0, 0, ""
  for _, thread in ipairs(threads) do
    answers = answers + thread:get("answers")
    wrong = wrong + thread:get("wrong")
    if first_wrong == "" then first_wrong = thread:get("first_wrong") end
  end
  local errors = summary.errors
  io.write(string.format(
    'REPORT {"answers": %d, "wrong": %d, "first_wrong": "%s", "socket_errors": %d, "seconds": %.6f, ' ..
      '"p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f}\n',
    answers, wrong, (first_wrong:gsub('[^%w %.,:_-]', "'")),
    errors.connect + errors.read + errors.write + errors.timeout, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
