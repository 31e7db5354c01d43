# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_linger_global_optspecs
    string join \n color= h/help V/version
end

function __fish_linger_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_linger_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_linger_using_subcommand
    set -l cmd (__fish_linger_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c linger -n "__fish_linger_needs_command" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_needs_command" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_needs_command" -f -a "check" -d 'Say what is wrong with this host\'s TCP connections, who causes it, why, and what to do'
complete -c linger -n "__fish_linger_needs_command" -f -a "record" -d 'Record what `check` reads, in a file to look at elsewhere'
complete -c linger -n "__fish_linger_needs_command" -f -a "diff" -d 'Say what changed between two moments or two hosts, and what that tells'
complete -c linger -n "__fish_linger_needs_command" -f -a "report" -d 'Write a page for a post-mortem: what is wrong, its evidence, and charts, in one file that asks nobody for anything'
complete -c linger -n "__fish_linger_needs_command" -f -a "states" -d 'Count sockets per state, or per peer, process, listener, …'
complete -c linger -n "__fish_linger_needs_command" -f -a "ports" -d 'Show how full the local ports towards each destination are, and how fast they fill'
complete -c linger -n "__fish_linger_needs_command" -f -a "listeners" -d 'Show each listener\'s accept queue, half-open requests, drops and process'
complete -c linger -n "__fish_linger_needs_command" -f -a "trace" -d 'Watch who opens and closes connections, and so who makes the TIME_WAIT sockets'
complete -c linger -n "__fish_linger_needs_command" -f -a "explain" -d 'Explain a rule, state, sysctl, counter, errno or topic as it is on this kernel'
complete -c linger -n "__fish_linger_needs_command" -f -a "lab" -d 'Reproduce incidents on this kernel, in network namespaces that vanish'
complete -c linger -n "__fish_linger_needs_command" -f -a "tune" -d 'Change kernel settings step by step, watch each, and take back what does harm'
complete -c linger -n "__fish_linger_needs_command" -f -a "mitigate" -d 'In an emergency: limit new connections per source, or destroy sockets'
complete -c linger -n "__fish_linger_needs_command" -f -a "serve" -d 'Keep watching: metrics for Prometheus, and the report as JSON, over HTTP'
complete -c linger -n "__fish_linger_needs_command" -f -a "history" -d 'Draw what `linger serve` has kept: states, counters and findings over time'
complete -c linger -n "__fish_linger_needs_command" -f -a "rules" -d 'Write rules, a route and a dashboard for Prometheus, Alertmanager and Grafana'
complete -c linger -n "__fish_linger_needs_command" -f -a "lint" -d 'Say what is wrong with sysctl files, or Prometheus rules, and mend what is sure'
complete -c linger -n "__fish_linger_needs_command" -f -a "config" -d 'Print every threshold with its default, as a configuration file'
complete -c linger -n "__fish_linger_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c linger -n "__fish_linger_needs_command" -f -a "__man" -d 'Write the man pages'
complete -c linger -n "__fish_linger_needs_command" -f -a "__schema" -d 'Print a JSON Schema, or write all of them'
complete -c linger -n "__fish_linger_needs_command" -f -a "__guardian" -d 'Guard a run of `linger tune apply`'
complete -c linger -n "__fish_linger_needs_command" -f -a "__actor" -d 'Play a part in a lab'
complete -c linger -n "__fish_linger_using_subcommand check" -l interval -d 'Time between two samples, for example 500ms or 5s' -r
complete -c linger -n "__fish_linger_using_subcommand check" -l samples -d 'How many samples; more make a longer window for the rules that need a past' -r
complete -c linger -n "__fish_linger_using_subcommand check" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand check" -l select -d 'Only these rules, by code or name' -r
complete -c linger -n "__fish_linger_using_subcommand check" -l ignore -d 'Not these rules, by code or name' -r
complete -c linger -n "__fish_linger_using_subcommand check" -l netns -d 'Network namespace: self, all, a NAME of `ip netns`, a /PATH, or pid:N. May be given several times, or as a list' -r
complete -c linger -n "__fish_linger_using_subcommand check" -l trace -d 'Watch for so long who closes connections (5s if no TIME is given; Ctrl-C ends it earlier), so that the sockets in TIME_WAIT made meanwhile have an owner, and why handshakes are dropped. Needs what `linger trace` needs; without it, the report says so and is otherwise the same' -r
complete -c linger -n "__fish_linger_using_subcommand check" -l from -d 'Not this host, but what was read of one: the output of ss, netstat, nstat, sysctl, lsof or conntrack, a sosreport (.tar, .tar.gz, .tar.xz) or its folder, a copy of /proc/net, a recording of `linger record`; - for standard input' -r -F
complete -c linger -n "__fish_linger_using_subcommand check" -l between -d 'Of a recording, only from one moment to another, from its beginning: 10s,40s' -r
complete -c linger -n "__fish_linger_using_subcommand check" -l config -d 'Thresholds from this file; `linger config` prints one with every default' -r -F
complete -c linger -n "__fish_linger_using_subcommand check" -l at -d 'Not now, but the report of a moment, from the history that `linger serve` keeps: 03:12, \'2026-11-20 03:12\', -2h, or RFC 3339' -r
complete -c linger -n "__fish_linger_using_subcommand check" -l history -d 'The history\'s folder' -r -F
complete -c linger -n "__fish_linger_using_subcommand check" -l fail-on -d 'Findings below this severity leave the exit status at 0' -r -f -a "info\t'Also notes'
warning\t'Warnings and worse'
critical\t'Only critical findings'"
complete -c linger -n "__fish_linger_using_subcommand check" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand check" -s v -l verbose -d 'Also list what was ruled out and what could not be read'
complete -c linger -n "__fish_linger_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand check" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand record" -s o -l output -d 'Into this file, which must not be there yet; - for standard output' -r -F
complete -c linger -n "__fish_linger_using_subcommand record" -l duration -d 'For how long, for example 30s or 10m; at most a day' -r
complete -c linger -n "__fish_linger_using_subcommand record" -l interval -d 'Time between two samples' -r
complete -c linger -n "__fish_linger_using_subcommand record" -l redact -d 'Hide addresses, also where names hold them, or all names of processes, containers and namespaces, too' -r -f -a "addresses\t'Addresses'
all\t'Addresses, and names of processes, containers, units and namespaces'"
complete -c linger -n "__fish_linger_using_subcommand record" -l max-size -d 'End before the file has more than so many MiB' -r
complete -c linger -n "__fish_linger_using_subcommand record" -l netns -d 'Network namespace: self, all, a NAME of `ip netns`, a /PATH, or pid:N. May be given several times, or as a list' -r
complete -c linger -n "__fish_linger_using_subcommand record" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand record" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand record" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand diff" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand diff" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand diff" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand report" -s o -l output -d 'Into this file, which must not be there yet; - for standard output' -r -F
complete -c linger -n "__fish_linger_using_subcommand report" -l duration -d 'For how long to look, for example 30s or 10m; at most a day' -r
complete -c linger -n "__fish_linger_using_subcommand report" -l interval -d 'Time between two samples' -r
complete -c linger -n "__fish_linger_using_subcommand report" -l netns -d 'Network namespace: self, all, a NAME of `ip netns`, a /PATH, or pid:N. May be given several times, or as a list' -r
complete -c linger -n "__fish_linger_using_subcommand report" -l from -d 'Not this host, but a recording, or whatever `linger check --from` takes; - for standard input' -r -F
complete -c linger -n "__fish_linger_using_subcommand report" -l between -d 'Of a recording, only from one moment to another, from its beginning: 10s,40s' -r
complete -c linger -n "__fish_linger_using_subcommand report" -l config -d 'Thresholds from this file; `linger config` prints one with every default' -r -F
complete -c linger -n "__fish_linger_using_subcommand report" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand report" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand states" -l by -d 'Count per group' -r -f -a "peer\t'Peer address'
peer-port\t'Peer address and port'
local-port\t'Local port'
listener\t'Listening address and port that the connection came through'
process\t'Process that holds the socket'
cgroup\t'cgroup'
container\t'Container or systemd unit'
netns\t'Network namespace'
family\t'Address family'"
complete -c linger -n "__fish_linger_using_subcommand states" -l top -d 'How many groups to show, the largest first; the rest is summed' -r
complete -c linger -n "__fish_linger_using_subcommand states" -l watch -d 'Again and again, every 2 s or the TIME given' -r
complete -c linger -n "__fish_linger_using_subcommand states" -l state -d 'Only these states, for example time-wait,close-wait' -r
complete -c linger -n "__fish_linger_using_subcommand states" -l src -d 'Only these local addresses, for example 10.0.0.1 or fd00::/64' -r
complete -c linger -n "__fish_linger_using_subcommand states" -l dst -d 'Only these peer addresses' -r
complete -c linger -n "__fish_linger_using_subcommand states" -l sport -d 'Only these local ports, for example 443 or 8000-8999' -r
complete -c linger -n "__fish_linger_using_subcommand states" -l dport -d 'Only these peer ports' -r
complete -c linger -n "__fish_linger_using_subcommand states" -l pid -d 'Only sockets that this process holds' -r
complete -c linger -n "__fish_linger_using_subcommand states" -l netns -d 'Network namespace: self, all, a NAME of `ip netns`, a /PATH, or pid:N. May be given several times, or as a list' -r
complete -c linger -n "__fish_linger_using_subcommand states" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand states" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand states" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand states" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand ports" -l top -d 'How many destinations to show, the fullest first' -r
complete -c linger -n "__fish_linger_using_subcommand ports" -l state -d 'Only these states, for example time-wait,close-wait' -r
complete -c linger -n "__fish_linger_using_subcommand ports" -l src -d 'Only these local addresses, for example 10.0.0.1 or fd00::/64' -r
complete -c linger -n "__fish_linger_using_subcommand ports" -l dst -d 'Only these peer addresses' -r
complete -c linger -n "__fish_linger_using_subcommand ports" -l sport -d 'Only these local ports, for example 443 or 8000-8999' -r
complete -c linger -n "__fish_linger_using_subcommand ports" -l dport -d 'Only these peer ports' -r
complete -c linger -n "__fish_linger_using_subcommand ports" -l pid -d 'Only sockets that this process holds' -r
complete -c linger -n "__fish_linger_using_subcommand ports" -l netns -d 'Network namespace: self, all, a NAME of `ip netns`, a /PATH, or pid:N. May be given several times, or as a list' -r
complete -c linger -n "__fish_linger_using_subcommand ports" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand ports" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand ports" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand ports" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand listeners" -l top -d 'How many listening addresses to show, the fullest queue first' -r
complete -c linger -n "__fish_linger_using_subcommand listeners" -l src -d 'Only these local addresses, for example 10.0.0.1 or fd00::/64' -r
complete -c linger -n "__fish_linger_using_subcommand listeners" -l sport -d 'Only these local ports, for example 443 or 8000-8999' -r
complete -c linger -n "__fish_linger_using_subcommand listeners" -l netns -d 'Network namespace: self, all, a NAME of `ip netns`, a /PATH, or pid:N. May be given several times, or as a list' -r
complete -c linger -n "__fish_linger_using_subcommand listeners" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand listeners" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand listeners" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand listeners" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -l duration -d 'For how long; Ctrl-C ends it earlier, with the summary' -r
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -l by -d 'What to sum up by' -r -f -a "process\t'Process, and where it connects to or listens'
container\t'Container, systemd unit or cgroup, and where it connects to or listens'
peer\t'Peer address, and the port connected to or listened on'
listener\t'Address and port listened on'"
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -l top -d 'How many rows of each table to show, the busiest first; the rest is summed' -r
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -l owners -d 'How many TIME_WAIT sockets\' owners the kernel may remember at a time, in a table that is there from the start; enough for 10,000 a second if not given' -r
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -l netns -d 'Network namespace: self, all, a NAME of `ip netns`, a /PATH, or pid:N. May be given several times, or as a list' -r
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -l daemon -d 'Trace every namespace until `linger trace stop`, and let check, states, ports and whatever else takes samples know the owners meanwhile'
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -f -a "handshakes" -d 'Which options peers offer and grant: timestamps, window scaling, SACK, MSS'
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -f -a "drops" -d 'Why handshakes fail here: accept queue, request queue, cookies, no listener'
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -f -a "status" -d 'Whether a trace runs as a daemon'
complete -c linger -n "__fish_linger_using_subcommand trace; and not __fish_seen_subcommand_from handshakes drops status stop" -f -a "stop" -d 'End the daemon; nothing of it is left in the kernel'
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from handshakes" -l duration -d 'For how long; Ctrl-C ends it earlier, with the summary' -r
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from handshakes" -l top -d 'How many peers to show, those with most connections first' -r
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from handshakes" -l netns -d 'Network namespace: self, all, a NAME of `ip netns`, a /PATH, or pid:N. May be given several times, or as a list' -r
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from handshakes" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from handshakes" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from handshakes" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from handshakes" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from drops" -l duration -d 'For how long; Ctrl-C ends it earlier, with the summary' -r
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from drops" -l top -d 'How many ports without a listener to show, those with most packets first' -r
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from drops" -l netns -d 'Network namespace: self, all, a NAME of `ip netns`, a /PATH, or pid:N. May be given several times, or as a list' -r
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from drops" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from drops" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from drops" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from drops" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from status" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from status" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from stop" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand trace; and __fish_seen_subcommand_from stop" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand explain" -l format -d 'How to print' -r -f -a "text\t'For a terminal'
markdown\t'Markdown'
json\t'JSON'"
complete -c linger -n "__fish_linger_using_subcommand explain" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand explain" -l list -d 'List everything that can be explained'
complete -c linger -n "__fish_linger_using_subcommand explain" -l all -d 'Every rule\'s manual'
complete -c linger -n "__fish_linger_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand explain" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand lab; and not __fish_seen_subcommand_from list show run compare myths" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand lab; and not __fish_seen_subcommand_from list show run compare myths" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand lab; and not __fish_seen_subcommand_from list show run compare myths" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand lab; and not __fish_seen_subcommand_from list show run compare myths" -f -a "list" -d 'List the incidents, with their healthy twins and their variants'
complete -c linger -n "__fish_linger_using_subcommand lab; and not __fish_seen_subcommand_from list show run compare myths" -f -a "show" -d 'Show an incident: hosts, links, actors, phases, and what is to be expected'
complete -c linger -n "__fish_linger_using_subcommand lab; and not __fish_seen_subcommand_from list show run compare myths" -f -a "run" -d 'Run incidents in network namespaces that vanish, and compare them with what was expected'
complete -c linger -n "__fish_linger_using_subcommand lab; and not __fish_seen_subcommand_from list show run compare myths" -f -a "compare" -d 'Run the same load twice with different settings, and say what difference they made'
complete -c linger -n "__fish_linger_using_subcommand lab; and not __fish_seen_subcommand_from list show run compare myths" -f -a "myths" -d 'Measure common beliefs about TCP connection states on this kernel: claim, measured, verdict'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from list" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from list" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from show" -l twin -d 'This twin or variant of it' -r
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from show" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from show" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from show" -l source -d 'Print its file, as a start for one of your own'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -l twin -d 'This twin or variant of the scenario' -r
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -l set -d 'Set a network sysctl in every host of the lab, or in HOST alone; a short name such as tcp_tw_reuse will do' -r
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -l param -d 'Set a parameter of the scenario; `linger lab show` lists them' -r
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -l duration -d 'Set the parameter `seconds`, for example 10s: how long the load goes on, or a state is waited for' -r
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -l all -d 'Every scenario that comes with linger, twins included'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -l force -d 'Run although this machine is busy. What a scenario may use of it stays bounded'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -l in-disposable-vm -d 'This machine is thrown away afterwards: scenarios may change settings that are the whole machine\'s'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -s v -l verbose -d 'Also print by how much counters rose, and of several scenarios each one'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from run" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -l a -d 'Settings of the one side' -r
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -l b -d 'Settings of the other' -r
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -l twin -d 'This twin or variant of the scenario' -r
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -l set -d 'Set a network sysctl in every host of the lab, or in HOST alone; a short name such as tcp_tw_reuse will do' -r
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -l param -d 'Set a parameter of the scenario; `linger lab show` lists them' -r
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -l duration -d 'Set the parameter `seconds`, for example 10s: how long the load goes on, or a state is waited for' -r
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -l force -d 'Run although this machine is busy. What a scenario may use of it stays bounded'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -l in-disposable-vm -d 'This machine is thrown away afterwards: scenarios may change settings that are the whole machine\'s'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from compare" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from myths" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from myths" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from myths" -s v -l verbose -d 'Also why the kernel behaves so, and where the belief is read'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from myths" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand lab; and __fish_seen_subcommand_from myths" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -f -a "plan" -d 'Plan what to change, and what to do first, by what `linger check` finds'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -f -a "rehearse" -d 'Try a plan\'s changes in the lab, one after the other, and add to the plan what each did'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -f -a "apply" -d 'Make a plan\'s changes one at a time, watch each, and take back what does harm'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -f -a "confirm" -d 'Keep what `apply` changed'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -f -a "rollback" -d 'Take changes back, the last first'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -f -a "status" -d 'Show what awaits confirmation, what is kept, and what was left half done'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -f -a "history" -d 'Show every run and step of the journal'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -f -a "diff" -d 'Show kept settings: before, as kept, and now'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -f -a "verify" -d 'Say whether kept settings still have the values that were kept'
complete -c linger -n "__fish_linger_using_subcommand tune; and not __fish_seen_subcommand_from plan rehearse apply confirm rollback status history diff verify recover" -f -a "recover" -d 'End what a crash left half done: the old values come back'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -l role -d 'What this host does' -r -f -a "gateway\t'Takes many short connections and makes as many'
proxy\t'Accepts many connections and makes many towards few backends'
server\t'Accepts connections'
client\t'Makes connections'
mesh-node\t'Runs containers that talk to each other'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -l profile -d 'What the host\'s owner wants of it: a role, values, settings to leave alone; --help shows one. --role goes before its role' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -l from -d 'A report of `linger check --format json` of this namespace; without one, it is looked at now' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -l interval -d 'Without --from: time between two samples' -r
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -l samples -d 'Without --from: how many samples' -r
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -l config -d 'Thresholds from this file, as for `linger check`' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -l netns -d 'Network namespace: self, a NAME of `ip netns`, a /PATH, or pid:N' -r
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -l proc-sys -d 'A folder in the place of /proc/sys' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'The plan, as `linger tune apply` takes it'
sysctl.d\t'A file for /etc/sysctl.d'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from plan" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rehearse" -s o -l output -d 'Also write the plan, with what was measured, to this file' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rehearse" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rehearse" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rehearse" -l force -d 'Run although this machine is busy. What a scenario may use of it stays bounded'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rehearse" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rehearse" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l observe -d 'How long to watch each step' -r
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l confirm-within -d 'Take everything back unless `linger tune confirm` is run within this time after the last step' -r
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l sysctl-dir -d 'The folder for --persist' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l config -d 'Thresholds from this file, as for `linger check`' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l netns -d 'Network namespace: self, a NAME of `ip netns`, a /PATH, or pid:N' -r
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l proc-sys -d 'A folder in the place of /proc/sys' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l format -d 'How to print what came of it; what happens meanwhile goes to standard error' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l no-confirm -d 'Keep the steps that pass without asking anybody'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l step-by-step -d 'Ask before each step'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l accept-risk -d 'Also make the steps that the plan calls unsafe'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l require-effect -d 'Take a step back that shows no effect in the time that the plan gives it'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l persist -d 'Write what is kept for the next boot, to 99-linger.conf'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -l dry-run -d 'Only say whether the plan can be applied, and what would be done'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from apply" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from confirm" -l run -d 'Which run, where several await it' -r
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from confirm" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from confirm" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from confirm" -l dry-run -d 'Only say what would be kept'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from confirm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from confirm" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rollback" -l to -d 'Take back everything after this run; 0 for everything. Without it, the last run' -r
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rollback" -l netns -d 'Network namespace: self, a NAME of `ip netns`, a /PATH, or pid:N' -r
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rollback" -l proc-sys -d 'A folder in the place of /proc/sys' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rollback" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rollback" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rollback" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rollback" -l dry-run -d 'Only say what would be written'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rollback" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from rollback" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from status" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from status" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from status" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from history" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from history" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from history" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from history" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from diff" -l netns -d 'Network namespace: self, a NAME of `ip netns`, a /PATH, or pid:N' -r
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from diff" -l proc-sys -d 'A folder in the place of /proc/sys' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from diff" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from diff" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from diff" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from diff" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from verify" -l netns -d 'Network namespace: self, a NAME of `ip netns`, a /PATH, or pid:N' -r
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from verify" -l proc-sys -d 'A folder in the place of /proc/sys' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from verify" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from verify" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from verify" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from verify" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from recover" -l proc-sys -d 'A folder in the place of /proc/sys' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from recover" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from recover" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from recover" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from recover" -l dry-run -d 'Only say what is half done'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from recover" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand tune; and __fish_seen_subcommand_from recover" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and not __fish_seen_subcommand_from syn-limit close status clear" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand mitigate; and not __fish_seen_subcommand_from syn-limit close status clear" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and not __fish_seen_subcommand_from syn-limit close status clear" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and not __fish_seen_subcommand_from syn-limit close status clear" -f -a "syn-limit" -d 'Limit the new connections to a listener, for each source by itself'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and not __fish_seen_subcommand_from syn-limit close status clear" -f -a "close" -d 'Destroy sockets that a process or peer leaves behind'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and not __fish_seen_subcommand_from syn-limit close status clear" -f -a "status" -d 'Show the limits in force, what they dropped, and what was destroyed'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and not __fish_seen_subcommand_from syn-limit close status clear" -f -a "clear" -d 'Take every limit away at once'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l listener -d 'The listener: a port like :443, or an address and a port' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l rate -d 'New connections that a source may make, such as 20/s or 100/min' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l burst -d 'How many at once beyond that' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l for -d 'How long; it ends by itself' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l allow -d 'Sources that are not limited: proxies, balancers, NAT gateways, yourself' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l sources -d 'Sources to remember, of IPv4 and IPv6 each' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l netns -d 'Network namespace: self, a NAME of `ip netns`, a /PATH, or pid:N' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l preview -d 'Count what would be dropped, and drop nothing'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -l dry-run -d 'Only show the ruleset; nothing is changed'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from syn-limit" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l state -d 'Only these states, for example time-wait,close-wait' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l src -d 'Only these local addresses, for example 10.0.0.1 or fd00::/64' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l dst -d 'Only these peer addresses' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l sport -d 'Only these local ports, for example 443 or 8000-8999' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l dport -d 'Only these peer ports' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l pid -d 'Only sockets that this process holds' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l process -d 'Only sockets that processes of this name hold, or the process with this PID' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l max -d 'Refuse if more sockets than this would be hit' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l netns -d 'Network namespace: self, a NAME of `ip netns`, a /PATH, or pid:N' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -s y -l yes -d 'Don\'t ask'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -l dry-run -l preview -d 'Only show what would be hit'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from close" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from status" -l netns -d 'Network namespace: self, a NAME of `ip netns`, a /PATH, or pid:N' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from status" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from status" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from status" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from clear" -l netns -d 'Network namespace: self, a NAME of `ip netns`, a /PATH, or pid:N' -r
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from clear" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from clear" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from clear" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from clear" -l dry-run -d 'Only say what would be taken away'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from clear" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand mitigate; and __fish_seen_subcommand_from clear" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand serve" -l listen -d 'Listen here; port 0 takes any free one' -r
complete -c linger -n "__fish_linger_using_subcommand serve" -l web-config -l web.config.file -d 'TLS, users and headers from this file, in the format of Prometheus\'s exporters (exporter-toolkit)' -r -F
complete -c linger -n "__fish_linger_using_subcommand serve" -l allow-host -d 'A name besides localhost by which it may be asked; without a password, others are refused on loopback' -r
complete -c linger -n "__fish_linger_using_subcommand serve" -l cpu-budget -d 'CPU that sampling may take, per cent of one core' -r
complete -c linger -n "__fish_linger_using_subcommand serve" -l top -d 'Rows of listeners, processes, containers and destinations in each namespace; the rest is one row, `other`' -r
complete -c linger -n "__fish_linger_using_subcommand serve" -l max-connections -d 'Connections served at a time; more are turned away' -r
complete -c linger -n "__fish_linger_using_subcommand serve" -l second-ms -d 'How long a second is, for tests that have hours to go through' -r
complete -c linger -n "__fish_linger_using_subcommand serve" -l config -d 'Thresholds from this file; `linger config` prints one with every default' -r -F
complete -c linger -n "__fish_linger_using_subcommand serve" -l history -d 'Keep the history in this folder; `linger history` draws it, `linger check --at` asks it' -r -F
complete -c linger -n "__fish_linger_using_subcommand serve" -l netns -d 'Network namespaces: all that can be reached, self, a NAME of `ip netns`, a /PATH, or pid:N. May be given several times, or as a list' -r
complete -c linger -n "__fish_linger_using_subcommand serve" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand serve" -l open-to-others -d 'Allow an address that others reach without asking anybody for a password'
complete -c linger -n "__fish_linger_using_subcommand serve" -l no-history -d 'Keep no history'
complete -c linger -n "__fish_linger_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand serve" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand history" -l since -d 'From when: 2h, 7d, 03:12, \'2026-11-20 03:12\', or RFC 3339' -r
complete -c linger -n "__fish_linger_using_subcommand history" -l until -d 'Up to when; now if it is left out' -r
complete -c linger -n "__fish_linger_using_subcommand history" -l state -d 'Only these states, for example time-wait,close-wait' -r
complete -c linger -n "__fish_linger_using_subcommand history" -l netns -d 'Only these network namespaces, by their names in the metrics; self for this one. May be given several times' -r
complete -c linger -n "__fish_linger_using_subcommand history" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schemas are under docs/schema'"
complete -c linger -n "__fish_linger_using_subcommand history" -l history -d 'The history\'s folder' -r -F
complete -c linger -n "__fish_linger_using_subcommand history" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand history" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand rules; and not __fish_seen_subcommand_from prometheus alertmanager grafana node-exporter" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand rules; and not __fish_seen_subcommand_from prometheus alertmanager grafana node-exporter" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand rules; and not __fish_seen_subcommand_from prometheus alertmanager grafana node-exporter" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand rules; and not __fish_seen_subcommand_from prometheus alertmanager grafana node-exporter" -f -a "prometheus" -d 'Alerting and recording rules for Prometheus, upon the metrics of linger serve'
complete -c linger -n "__fish_linger_using_subcommand rules; and not __fish_seen_subcommand_from prometheus alertmanager grafana node-exporter" -f -a "alertmanager" -d 'A route, receivers and inhibition for Alertmanager, to be taken over into its configuration'
complete -c linger -n "__fish_linger_using_subcommand rules; and not __fish_seen_subcommand_from prometheus alertmanager grafana node-exporter" -f -a "grafana" -d 'A dashboard for Grafana, upon the metrics of linger serve'
complete -c linger -n "__fish_linger_using_subcommand rules; and not __fish_seen_subcommand_from prometheus alertmanager grafana node-exporter" -f -a "node-exporter" -d 'Alerting rules for Prometheus upon node_exporter alone, where linger serve does not run'
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from prometheus" -l config -d 'The configuration of linger serve, for its [serve.alerts]: `for`, `resolve_after`, `labels` and `runbook_url`' -r -F
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from prometheus" -l job -d 'The job_name under which Prometheus scrapes linger serve' -r
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from prometheus" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from prometheus" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from prometheus" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from alertmanager" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from alertmanager" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from alertmanager" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from grafana" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from grafana" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from grafana" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from node-exporter" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from node-exporter" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand rules; and __fish_seen_subcommand_from node-exporter" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand lint" -l kernel -d 'Kernel that the files are for, for example 6.1; this host\'s if not given' -r
complete -c linger -n "__fish_linger_using_subcommand lint" -l ram -d 'Memory of the hosts that the files are for, for example 64G; this host\'s with --live' -r
complete -c linger -n "__fish_linger_using_subcommand lint" -l role -d 'What the hosts do' -r -f -a "gateway\t'Takes many short connections and makes as many'
proxy\t'Accepts many connections and makes many towards few backends'
server\t'Accepts connections'
client\t'Makes connections'
mesh-node\t'Runs containers that talk to each other'"
complete -c linger -n "__fish_linger_using_subcommand lint" -l scrape-interval -d 'How often Prometheus scrapes, for example 30s' -r
complete -c linger -n "__fish_linger_using_subcommand lint" -l format -d 'How to print' -r -f -a "text\t'For a person'
json\t'For a program; the schema is docs/schema/lint.json'
sarif\t'For code review: SARIF 2.1.0'"
complete -c linger -n "__fish_linger_using_subcommand lint" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand lint" -l live -d 'Also compare with what is running here: values, listeners, namespaces. On where no FILE is given'
complete -c linger -n "__fish_linger_using_subcommand lint" -l prometheus -d 'The files are Prometheus rules: look for metrics that do not exist or mean something else'
complete -c linger -n "__fish_linger_using_subcommand lint" -l fix -d 'Mend what is sure, and keep a copy of each file beside it. Lines are made comments, never deleted'
complete -c linger -n "__fish_linger_using_subcommand lint" -l diff -d 'Show what --fix would change, and change nothing'
complete -c linger -n "__fish_linger_using_subcommand lint" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand lint" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand config" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand config" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand completions" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand completions" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand __man" -l out -d 'Into this folder' -r -F
complete -c linger -n "__fish_linger_using_subcommand __man" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand __man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand __man" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand __schema" -l out -d 'Write a file for each format here' -r -F
complete -c linger -n "__fish_linger_using_subcommand __schema" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand __schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand __schema" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand __guardian" -l state-dir -d 'The folder of the journal' -r -F
complete -c linger -n "__fish_linger_using_subcommand __guardian" -l run -d 'The run' -r
complete -c linger -n "__fish_linger_using_subcommand __guardian" -l applier -d 'The process that applies' -r
complete -c linger -n "__fish_linger_using_subcommand __guardian" -l at-most -d 'After so many seconds it hangs' -r
complete -c linger -n "__fish_linger_using_subcommand __guardian" -l proc-sys -d 'A folder in the place of /proc/sys' -r -F
complete -c linger -n "__fish_linger_using_subcommand __guardian" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand __guardian" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand __guardian" -s V -l version -d 'Print version'
complete -c linger -n "__fish_linger_using_subcommand __actor" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'In any case'
never\t'Not at all'"
complete -c linger -n "__fish_linger_using_subcommand __actor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c linger -n "__fish_linger_using_subcommand __actor" -s V -l version -d 'Print version'
