-- Health of an Agent for Argo CD, computed from its status conditions.
local hs = {status = "Progressing", message = "the operator has not observed this generation of the Agent yet"}
if obj.status == nil or obj.status.conditions == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return hs
end
local conditions = {}
for _, condition in ipairs(obj.status.conditions) do
  conditions[condition.type] = condition
end
local ready = conditions["Ready"]
if ready == nil or ready.status == "Unknown" then
  return hs
end
hs.message = ready.reason .. ": " .. ready.message
if ready.status == "True" then
  hs.status = "Healthy"
  if ready.reason == "Suspended" then
    hs.status = "Suspended"
  end
elseif conditions["Stalled"] ~= nil and conditions["Stalled"].status == "True" then
  hs.status = "Degraded"
elseif ready.reason ~= "RolloutInProgress" then
  hs.status = "Degraded"
end
return hs
