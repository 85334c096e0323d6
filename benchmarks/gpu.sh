#!/usr/bin/env bash
# What is worth knowing of a machine with one GPU, in eight minutes: checks, speed, whole commands, likelihoods.
#
#     bash benchmarks/gpu.sh [FOLDER] [DATA]
#
# FOLDER (default: gpu-runs) takes what each step prints and its runs; DATA is the folder of the four .mat files, without
# which no likelihood is measured. Results are kept under benchmarks/results/DEVICE. Each step has a limit of seconds.
# The same command goes on: it leaves out the steps that ended well, and continues the training of the networks.
set -u
folder=$(mkdir -p "${1:-gpu-runs}" && cd "${1:-gpu-runs}" && pwd) || exit
data=
if [[ ${2:-} ]]; then
    data=$(cd "$2" && pwd) || exit
fi
cd "$(dirname "$0")/.." || exit
limit=${GPU_SECONDS:-480}
export XLA_PYTHON_CLIENT_PREALLOCATE=false  # contestants of one benchmark share the device's memory

names=()

step() {  # NAME SECONDS COMMAND...: runs the command with what is left of the limit, unless it has ended well before
    local name=$1 most=$2 left began=$SECONDS
    shift 2
    names+=("$name")
    [[ -e $folder/$name.done ]] && return
    left=$((limit - SECONDS))
    if ((left < 10)); then
        echo "$name: no time left" > "$folder/$name.failed"
        return
    fi
    echo "$name, at most $((most < left ? most : left)) s" >&2
    if timeout --kill-after=5 $((most < left ? most : left)) "$@" > "$folder/$name.log" 2>&1; then
        rm -f "$folder/$name.failed"
        echo "$((SECONDS - began)) s" > "$folder/$name.done"
    else
        echo "exit status $? after $((SECONDS - began)) s (124: its limit)" > "$folder/$name.failed"
    fi
}

killed_and_resumed() {  # a run that is killed after its first epoch and goes on ends with the losses of one that is not
    local run="$folder/resume"
    local flags="--config=small --config.model.units=32 --config.train.epochs=20 --config.sample.num_outputs=1"
    rm -rf "$run" "$run-whole"
    python -m musicjax.main $flags --workdir="$run-whole" || return
    python -m musicjax.main $flags --workdir="$run" &
    until grep -qs '"valid"' "$run/metrics.jsonl"; do sleep 0.1; kill -0 $! || return; done
    kill -9 $! || return
    wait $!
    (($(grep -c '"valid"' "$run/metrics.jsonl") < 20)) || return
    python -m musicjax.main $flags --workdir="$run" || return
    python - "$run" "$run-whole" <<'PYTHON'
import json, sys
losses = [[json.loads(line)["loss"] for line in open(f"{run}/metrics.jsonl")] for run in sys.argv[1:]]
print(json.dumps({"losses_equal": losses[0] == losses[1]}))
sys.exit(losses[0] != losses[1])
PYTHON
}
export folder
export -f killed_and_resumed

python -c 'import jax; print(jax.devices()[0].device_kind, jax.__version__)' || exit
step checks 90 python -m pytest -q -n 4 tests/test_lstm.py tests/test_heads.py tests/test_sample.py tests/test_step.py
step train 90 python -m benchmarks.train --save
step sample 60 python -m benchmarks.sample --save
step paper 60 python -m musicjax.main --config=paper --workdir="$folder/paper"
step demo 45 python -m musicjax.main --config=demo --workdir="$folder/demo"
step resume 60 bash -c killed_and_resumed
step trials 45 python -m benchmarks.trials --save
step sizes 60 python -m benchmarks.sizes --save
if [[ $data ]]; then
    step likelihood 240 python -m benchmarks.likelihood --data="$data" --runs="$folder/likelihood" \
        --rows=lstm_nade,tp_lstm_nade,balstm,kotecha_young --budget_core_hours=.05 --save
    grep -qs 'fit into the budget' "$folder/likelihood.log" && rm -f "$folder/likelihood.done"
fi

printf '\n%-12s%-44s%s\n' step "how it ended" "its last line"
failed=0
for name in "${names[@]}"; do
    [[ -e $folder/$name.failed ]] && failed=1
    how=$(cat "$folder/$name.done" "$folder/$name.failed" 2> /dev/null)
    last=$(tail -n 1 "$folder/$name.log" 2> /dev/null)
    printf '%-12s%-44s%s\n' "$name" "${how:-to be continued}" "${last:0:100}"
done
exit $failed
