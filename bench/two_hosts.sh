#!/bin/sh
# Two machines on one: a run in two network namespaces with a cable between them, beside the run of one process.
#
#     sudo bench/two_hosts.sh FOLDER --model BASE --data-dir DATA --micro-batches 4 ...
#
# FOLDER gets the run folders `alone` and `shared`; the two digests printed at the end should be the same.
# With CUT=1 the cable is cut after three steps of the shared run: both machines should end with 4 after a minute.
set -eu
folder=$1
shift
python=${PYTHON:-python3}
export OMP_NUM_THREADS=1
end() { ip netns del vox-first; ip netns del vox-other; }
trap end EXIT
mkdir -p "$folder"
ip netns add vox-first
ip netns add vox-other
ip link add vox0 netns vox-first type veth peer name vox0 netns vox-other
ip -n vox-first addr add 10.77.0.1/24 dev vox0
ip -n vox-other addr add 10.77.0.2/24 dev vox0
for name in vox-first vox-other; do
  ip -n "$name" link set lo up
  ip -n "$name" link set vox0 up
done
train() { # namespace, number of the machine, settings
  name=$1 number=$2
  shift 2
  GLOO_SOCKET_IFNAME=vox0 ip netns exec "$name" "$python" -m torch.distributed.run --nnodes 2 --node-rank "$number" \
    --nproc-per-node 1 --master-addr 10.77.0.1 --master-port 29400 -m vox_cli mens train --device cpu --threads 1 "$@"
}
if [ -n "${CUT:-}" ]; then
  for number in 0 1; do
    name=$([ "$number" = 0 ] && echo vox-first || echo vox-other)
    train "$name" "$number" --output-dir "$folder/cut-$number" "$@" &
  done
  until grep -q '"step": 3' "$folder/cut-0/telemetry.jsonl" 2>/dev/null; do sleep 0.2; done
  ip -n vox-first link set vox0 down
  echo "cut at $(date +%T)"
  wait
  echo "all ended at $(date +%T)"
  exit
fi
"$python" -m vox_cli mens train --device cpu --threads 1 --output-dir "$folder/alone" "$@"
train vox-other 1 --output-dir "$folder/elsewhere" "$@" &
train vox-first 0 --output-dir "$folder/shared" "$@"
wait
sha256sum "$folder"/*/model_final.bin
