# Needs git, make and python3 (3.11 or newer) only; everything is installed into .venv.
.PHONY: install demo test test-long test-browser check
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[compress,cpu,dev,exr,export,heic,hub,lora,raw,video]'
	touch $@

# Predict two photographs, within a minute; then train both ways on procedural rooms and compare them: some five minutes
# on two cores.
demo: install
	$(BIN)/leadline predict examples/photos --out demo/photos
	$(BIN)/leadline cloud examples/photos/reception.jpg --out demo/reception.glb
	@echo
	@echo "Depth of two photographs, by the network that comes with the package: demo/photos"
	@echo "A surface to turn in any 3D viewer: demo/reception.glb"
	@echo "A page for your own photographs: leadline app (docs/viewing.md says how to install it)"
	@echo "Now two short trainings of some five minutes; stop them with Ctrl-C, and run this again to resume them."
	@echo
	$(BIN)/leadline study stages --only multi-stage --out demo --seeds 1 --jobs 2 --photos examples/photos \
	    --data rooms,height=96,width=128,count=2048 --model hybrid,size=tiny,input_size=96:128 --loss silog=1,l1=1 \
	    --steps 500 --validate-every 250 --learning-rate 4e-3 --augmentation.brightness 0 --augmentation.colour 0
	@echo
	@echo "Depth of the two photographs: demo/photos (.png: millimetres; .colour.png: pictures)"
	@echo "One of them as a surface:     demo/reception.glb (open it in a 3D viewer)"
	@echo "Report of the trainings:      demo/report.html (open it in a browser)"

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

test: check
	$(BIN)/pytest -n 2

# Proofs that take minutes to hours: trainings killed ten times, large checkpoints.
test-long: install
	$(BIN)/pytest -m long

# The page in Debian's Chromium. Gradio wants an older Pillow than the other tests have: an environment of its own.
test-browser: .venv-app/installed
	test -n "$$(command -v chromium)" || (apt-get update && apt-get install -y --no-install-recommends chromium)
	.venv-app/bin/python -m pytest -m browser tests/test_app.py

.venv-app/installed: pyproject.toml constraints.txt
	test -x .venv-app/bin/python || $(PYTHON) -m venv .venv-app
	grep -v '^pillow==' constraints.txt > .venv-app/constraints.txt
	.venv-app/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	.venv-app/bin/uv pip install --quiet --python .venv-app/bin/python --constraint .venv-app/constraints.txt \
	    --editable '.[app,dev,video]' 'playwright>=1.50'
	touch $@
