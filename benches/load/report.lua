-- What wrk measured, as one line that is easy to read by a program.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        "report requests=%d duration=%d p50=%d p99=%d slowest=%d failed=%d\n",
        summary.requests,
        summary.duration,
        latency:percentile(50),
        latency:percentile(99),
        latency.max,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout
    ))
end
