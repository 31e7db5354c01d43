//! linger's plain data: records, snapshots, windows, findings, reports.
