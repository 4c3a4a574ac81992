#!/usr/bin/env bash
# Runs slurm.sbatch on a real Slurm of one node, which lives in a temporary folder and ends with this script.
#   cargo build --release -p deepsight-cli
#   examples/cluster/scripts/test-slurm.sh
# DEEPSIGHT names another program. Installs the packages munge, slurmctld, slurmd and slurm-client if they are missing;
# uses none of the system's own configuration. The node has two GPUs in name only: the clips are analyzed on the CPU.
set -euo pipefail
cd "$(dirname "$0")/../../.."

CLIPS=24   # eight for each of the three shards
LIMIT=300  # seconds to wait for a state of a job

fail() {
    printf 'test-slurm.sh: %s\n' "$*" >&2
    exit 1
}
step() {
    printf '\n== %s (%d s)\n' "$1" "$SECONDS"
}
seen() {
    printf '   %s\n' "$*"
}

program=$(realpath -m "${DEEPSIGHT:-${CARGO_TARGET_DIR:-target}/release/deepsight}")
[ -x "$program" ] || fail "$program is missing: cargo build --release -p deepsight-cli (DEEPSIGHT names another)"
batch="$PWD/examples/cluster/slurm.sbatch"
source_clip="$PWD/examples/clips/portraits.mp4"
# Settings of a cluster, or of an earlier run, would change what is tested.
unset DEEPSIGHT SHARDS "${!SLURM_@}" "${!SBATCH_@}" "${!SRUN_@}" "${!SCANCEL_@}" "${!SQUEUE_@}" "${!SCONTROL_@}"

step "packages"
# Slurm's daemons are in a folder that may be missing in a user's PATH.
PATH="$PATH:/usr/sbin"
missing=()
for tool in munged:munge slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client ffmpeg:ffmpeg; do
    command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    seen "installs ${missing[*]}"
    # A container's root may not have sudo.
    sudo=$(command -v sudo || true)
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -qq -y --no-install-recommends "${missing[@]}"
fi
seen "$(slurmctld -V), $(munged --version | head -n 1), $("$program" --version | head -n 1)"

# The folder, and all that runs in it.
folder=$(mktemp -d "${TMPDIR:-/tmp}/deepsight-slurm.XXXXXX")
export SLURM_CONF="$folder/slurm.conf"
# Daemons, steps and commands have SLURM_CONF in their environment; this shell does not, because it was set later.
processes() {
    local environment
    for environment in /proc/[0-9]*/environ; do
        if grep -qzxF "SLURM_CONF=$SLURM_CONF" "$environment" 2>/dev/null; then
            environment=${environment#/proc/}
            echo "${environment%/environ}"
        fi
    done
}
clean_up() {
    local status=$? left
    trap '' INT TERM HUP
    if [ "$status" -ne 0 ]; then
        show_logs >&2
    fi
    # Daemons end by themselves in a few seconds; what runs in a job may not.
    local signal=TERM end=$((SECONDS + 10))
    while left=$(processes) && [ -n "$left" ]; do
        # shellcheck disable=SC2086 # one word for each process
        kill -"$signal" $left 2>/dev/null || true
        [ "$SECONDS" -lt "$end" ] || signal=KILL
        sleep 0.2
    done
    rm -rf "$folder"
}
show_logs() {
    local log
    for log in "$folder"/*.log "$folder"/jobs/*.log; do
        if [ -s "$log" ]; then
            printf -- '-- the end of %s\n' "${log#"$folder"/}"
            tail -n 15 "$log"
        fi
    done
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Waits until a command succeeds: until_true SECONDS WHAT COMMAND...
until_true() {
    local limit=$1 what=$2 end=$((SECONDS + $1))
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "after $limit seconds still not: $what"
        sleep 0.1
    done
}
# Prints a port of this machine that nothing listens on.
free_port() {
    local port
    while port=$((RANDOM % 20000 + 10000)); (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null; do :; done
    echo "$port"
}

step "one node"
node=${HOSTNAME%%.*}
user=$(id -un)
mkdir "$folder"/{bin,jobs,munge,spool,state}
# munged refuses a socket that others cannot reach, and a key that they can read.
chmod 755 "$folder" "$folder/munge"
(umask 077 && head -c 128 /dev/urandom >"$folder/munge/key")
# No tracking by cgroups, which a container may not have. `config_overrides`: the node need not have the processors
# and the memory that it says, so that slurm.sbatch runs as it is. `cred_expire`: a requeued job waits for so many
# seconds instead of 120.
cat >"$SLURM_CONF" <<EOF
ClusterName=deepsight
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=15
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MinJobAge=3600
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=32 RealMemory=131072 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=$node Default=YES MaxTime=INFINITE State=UP
EOF
# Slurm wants a device for each GPU. It only names them: nothing opens these.
printf 'Name=gpu File=/dev/%s\n' null zero >"$folder/gres.conf"

# In sessions of their own, so that Ctrl-C ends this script first.
setsid munged --foreground --key-file "$folder/munge/key" --socket "$folder/munge/socket" \
    --pid-file "$folder/munge/pid" --seed-file "$folder/munge/seed" --log-file "$folder/munge/log" \
    >"$folder/munged.log" 2>&1 &
disown
until_true 30 "munged makes its socket" test -S "$folder/munge/socket"
setsid slurmctld -D >"$folder/slurmctld.log" 2>&1 &
disown
setsid slurmd -D >"$folder/slurmd.log" 2>&1 &
disown
node_is_idle() {
    [ "$(sinfo --noheader --format %T 2>/dev/null)" = idle ]
}
until_true 60 "the node is idle" node_is_idle
seen "$(sinfo --noheader --format '%n: %T, %c processors, %m MiB, %G')"

step "clips"
# The steps find this program in their PATH. It notes which GPU and how many processors the step got.
cat >"$folder/bin/deepsight" <<EOF
#!/bin/sh
if [ "\$1" = analyze ]; then
    echo "step of task \$SLURM_ARRAY_TASK_ID: GPU \$CUDA_VISIBLE_DEVICES"
fi
exec "$program" "\$@"
EOF
chmod +x "$folder/bin/deepsight"
export PATH="$folder/bin:$PATH" DEVICE=flex
for ((i = 0; i < CLIPS; i++)); do
    clip=$(printf '%s/clip-%02d.mp4' "$folder" "$i")
    # The same pictures in files that differ.
    ffmpeg -nostdin -v error -i "$source_clip" -c copy -metadata comment="$i" "$clip"
done
(cd "$folder" && printf 'file\n' >clips.csv && ls clip-*.mp4 >>clips.csv)
seen "$CLIPS clips of $(stat -c %s "$folder/clip-00.mp4") bytes"

# Submits in a folder of its own, where the logs and the merged results are.
submit() {
    (cd "$jobs" && sbatch --parsable "$@")
}
# As in the README. `jobs` is the folder, `array` the job before.
submit_merge() {
    submit --dependency=afterany:"$array" \
        --wrap "deepsight merge $OUTPUT_DIR --manifest $MANIFEST --output all.jsonl --csv all.csv"
}
start_check() {
    step "$1"
    jobs="$folder/jobs/$2"
    mkdir -p "$jobs"
    export OUTPUT_DIR="$jobs/results" MANIFEST="$folder/$3"
}
# Prints a field of a job, such as JobState.
field() {
    scontrol --oneliner show job "$1" | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1
}
has_ended() {
    case $(field "$1" JobState) in
        PENDING | CONFIGURING | RUNNING | COMPLETING | REQUEUED | SUSPENDED) return 1 ;;
    esac
}
# Waits for a job to end, and compares its state and exit code: expect JOB STATE CODE
expect() {
    local state code
    until_true "$LIMIT" "job $1 has ended" has_ended "$1"
    state=$(field "$1" JobState) code=$(field "$1" ExitCode)
    [ "$state $code" = "$2 $3" ] || fail "job $1 ended as $state with $code instead of $2 with $3"
    seen "job $1: $state, exit code $code"
}
shard() {
    printf '%s/reports-%05d-of-00003.jsonl\n' "$OUTPUT_DIR" "$1"
}
# Prints the number of clips in the file of a shard, whose first line has the settings.
clips_in() {
    local lines=0
    [ ! -f "$(shard "$1")" ] || lines=$(wc -l <"$(shard "$1")")
    echo $((lines > 0 ? lines - 1 : 0))
}
has_clips() {
    [ "$(clips_in "$1")" -ge "$2" ]
}
# Prints checksums and times of the files of shards.
state_of() {
    local number
    for number in "$@"; do
        sha256sum "$(shard "$number")"
        stat -c %y "$(shard "$number")"
    done
}
# Compares the last line of a task's log: continued TASK CLIPS
continued() {
    local last
    last=$(tail -n 1 "$jobs/deepsight-$1.log")
    [[ $last == "8 of 8 clips: "*"; $2 were done before" ]] || fail "the log of task $1 ends with: $last"
    seen "task $1: $last"
}
# Copies the complete lines of a shard whose task has ended in the middle.
keep_lines() {
    local finished
    finished=$(clips_in "$1")
    [ "$finished" -lt 8 ] || fail "task $1 was ended after its last clip"
    # Slurm sends signals to ffmpeg too. That says nothing about a clip, and must not be in its results.
    if grep -E '"error":|"errors":\{"count":[1-9]' "$(shard "$1")" >"$jobs/errors"; then
        fail "the end of task $1 became the error of a clip: $(grep -oE '"errors?":["{].{1,200}' "$jobs/errors")"
    fi
    head -n $((finished + 1)) "$(shard "$1")" >"$jobs/kept-$1"
    seen "task ${array}_$1 was ended after $finished of 8 clips"
}
# Checks that a task went on after these lines, and that they have not changed.
check_lines() {
    local finished
    finished=$(($(wc -l <"$jobs/kept-$1") - 1))
    continued "${array}_$1" "$finished"
    head -n $((finished + 1)) "$(shard "$1")" | cmp "$jobs/kept-$1" - || fail "lines of the run before have changed"
    has_clips "$1" 8 || fail "shard $1 has $(clips_in "$1") clips instead of 8"
}
# Compares the merged results with the list: each clip once, in its order, and with the checksum of its own file.
check_merged() {
    local clips="$jobs/expected.txt" file sha256
    tail -n +2 "$MANIFEST" >"$clips"
    sed 's/^{"position":[0-9]*,"file":"\([^"]*\)".*/\1/' "$jobs/all.jsonl" | diff "$clips" - ||
        fail "all.jsonl has other clips than $MANIFEST"
    tail -n +2 "$jobs/all.csv" | cut -d, -f1 | diff "$clips" - || fail "all.csv has other clips than $MANIFEST"
    while IFS=, read -r file _ _ _ _ _ _ _ _ sha256 _; do
        [ -z "$sha256" ] || [ "$sha256" = "$(sha256sum <"$folder/$file" | cut -d' ' -f1)" ] ||
            fail "all.csv has the checksum of another file for $file"
    done < <(tail -n +2 "$jobs/all.csv")
    seen "merged: $(wc -l <"$jobs/all.jsonl") lines of JSON, $(tail -n +2 "$jobs/all.csv" | wc -l) rows, each clip once"
}

start_check "an array of three tasks, and a merge after it" array clips.csv
# With SLURM_DEBUG, srun prints what it asks for.
array=$(SLURM_DEBUG=1 submit --array=0-2 "$batch" --frames 8)
merge=$(submit_merge)
[ "$(field "$merge" Reason)" = Dependency ] || fail "the merge does not wait for the array"
for i in 0 1 2; do
    expect "${array}_$i" COMPLETED 0:0
    has_clips "$i" 8 || fail "shard $i has $(clips_in "$i") clips instead of 8"
    log="$jobs/deepsight-${array}_$i.log"
    grep -qx "step of task $i: GPU [01]" "$log" || fail "task $i has no GPU: $(grep 'step of task' "$log")"
    seen "$(grep 'step of task' "$log"), $(grep -o 'cpus-per-task *: .*' "$log")"
    grep -q 'cpus-per-task *: 8$' "$log" || fail "the step of task $i asks for other processors than the job"
done
expect "$merge" COMPLETED 0:0
check_merged

start_check "a task that is killed, one that is cancelled, and the array submitted again" ended clips.csv
array=$(submit --array=0-2 "$batch" --frames 8)
merge=$(submit_merge)
until_true "$LIMIT" "shard 1 has three clips" has_clips 1 3
# SIGKILL for the step only. The job would get SIGTERM first.
scancel --signal=KILL "${array}_1.0"
until_true "$LIMIT" "shard 2 has three clips" has_clips 2 3
scancel "${array}_2"
expect "${array}_0" COMPLETED 0:0
expect "${array}_1" FAILED 137:0
expect "${array}_2" CANCELLED 130:0
keep_lines 1
keep_lines 2
expect "$merge" FAILED 2:0
if compgen -G "$jobs/all.*" >/dev/null; then
    fail "merge wrote results although clips are missing"
fi
seen "merge: $(grep -m 1 '^error' "$jobs/slurm-$merge.out")"
others=$(state_of 0)
array=$(submit --array=0-2 "$batch" --frames 8)
merge=$(submit_merge)
for i in 0 1 2; do
    expect "${array}_$i" COMPLETED 0:0
done
continued "${array}_0" 8
check_lines 1
check_lines 2
[ "$others" = "$(state_of 0)" ] || fail "the shard that was complete has changed"
expect "$merge" COMPLETED 0:0
check_merged

start_check "one shard again" ended clips.csv
others=$(state_of 0 2)
array=$(submit --array=1 "$batch" --frames 8)
expect "${array}_1" FAILED 2:0
seen "without SHARDS: $(grep -m 1 '^error' "$jobs/deepsight-${array}_1.log")"
array=$(SHARDS=3 submit --array=1 "$batch" --frames 8 --restart)
merge=$(submit_merge)
expect "${array}_1" COMPLETED 0:0
continued "${array}_1" 0
[ "$others" = "$(state_of 0 2)" ] || fail "other shards have changed"
expect "$merge" COMPLETED 0:0
check_merged

start_check "a task that is requeued" requeued clips.csv
array=$(submit --array=0-2 "$batch" --frames 8)
merge=$(submit_merge)
until_true "$LIMIT" "shard 1 has three clips" has_clips 1 3
scontrol requeue "${array}_1"
is_pending() {
    [ "$(field "${array}_1" JobState)" = PENDING ]
}
until_true "$LIMIT" "task 1 is pending again" is_pending
keep_lines 1
for i in 0 1 2; do
    expect "${array}_$i" COMPLETED 0:0
done
[ "$(field "${array}_1" Restarts)" = 1 ] || fail "job ${array}_1 was not started again by Slurm"
check_lines 1
expect "$merge" COMPLETED 0:0
check_merged

start_check "a damaged clip" damaged damaged.csv
head -c 1000 "$folder/clip-04.mp4" >"$folder/damaged.mp4"
printf '%s\n' file clip-0{0..3}.mp4 damaged.mp4 clip-05.mp4 >"$MANIFEST"
array=$(submit --array=0-2 "$batch" --frames 8)
merge=$(submit_merge)
expect "${array}_0" COMPLETED 0:0
expect "${array}_1" FAILED 2:0
expect "${array}_2" COMPLETED 0:0
has_clips 1 2 || fail "shard 1 has $(clips_in 1) clips instead of 2"
[ "$(grep -c '"error":' "$(shard 1)")" = 1 ] || fail "shard 1 has not one error"
grep -q '^{"position":4,"file":"damaged.mp4","error":' "$(shard 1)" || fail "the damaged clip has no error"
expect "$merge" COMPLETED 0:0
check_merged
[ "$(grep -c '^damaged.mp4,,,,,,,,,,[^,]' "$jobs/all.csv")" = 1 ] || fail "the row of the damaged clip has no error"
seen "$(grep '^damaged.mp4' "$jobs/all.csv")"

step "passed"
