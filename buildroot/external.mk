# Where Buildroot's own Python packages come from.
BRANCH_GATEWAY_PYPI = $(firstword $(subst /packages/, ,$(PYTHON_CLICK_SITE)))/packages

include $(sort $(wildcard $(BR2_EXTERNAL_BRANCH_GATEWAY_PATH)/package/*/*.mk))
